"""Provenance: one small function per fact, gathered into the manifest. To record another, add a function to the list.

`FACTS` are gathered once; `MOMENTS` before and after the run, because their change tells whether it was disturbed.
Rule: an unknown fact is None, never guessed; nothing that names a person's machine (host name, user, paths).
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed.files.datafiles import PACKAGE, VERSION

PROC = Path("/proc")
PACKAGES = (
    "matplotlib", "mininet", "msgspec", "numpy", "pandas", "pyarrow", "pydantic", "pyroute2", "safetensors",
    "tokenizers", "torch", "transformers",
)  # fmt: skip

Fact = Callable[[], Any]


def kernel() -> str:
    return f"{platform.system()} {platform.release()}"


def cpu_model() -> str | None:
    return _first_value(PROC / "cpuinfo", "model name")


def cores() -> int:
    """The cores this process may use, which a container or taskset can make fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    value = _first_value(PROC / "meminfo", "MemTotal")
    return None if value is None else int(value.split()[0]) * 1024


def python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def testbed_version() -> str:
    return VERSION


def packages() -> dict[str, str | None]:
    return {name: _package_version(name) for name in PACKAGES}


def code() -> dict[str, Any] | None:
    """Commit and whether files differ from it; None when the package does not run from its own checkout."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # installed, or lying inside another project's repository
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def tcp_congestion_control() -> str | None:
    """As in the network namespace of the caller; new namespaces inherit it."""
    return _read(PROC / "sys/net/ipv4/tcp_congestion_control")


def tcp_slow_start_after_idle() -> int | None:
    """1: a connection idle for one retransmission timeout starts again from a small window."""
    value = _read(PROC / "sys/net/ipv4/tcp_slow_start_after_idle")
    return None if value is None else int(value)


def load_average() -> list[float]:
    return list(os.getloadavg())


def cpu_ticks() -> dict[str, int] | None:
    """Since boot, all cores: every tick, and those the hypervisor gave to others (proc(5), /proc/stat, 8th field)."""
    line = _read(PROC / "stat")
    if line is None:
        return None
    ticks = [int(field) for field in line.splitlines()[0].split()[1:9]]  # guest time is already in user time
    return {"total": sum(ticks), "steal": ticks[7]}


FACTS: tuple[Fact, ...] = (
    kernel,
    cpu_model,
    cores,
    memory_bytes,
    python,
    testbed_version,
    packages,
    code,
    tcp_congestion_control,
    tcp_slow_start_after_idle,
)
MOMENTS: tuple[Fact, ...] = (load_average, cpu_ticks)


def gather(facts: Iterable[Fact] = FACTS) -> dict[str, Any]:
    """Each fact under its function's name."""
    return {fact.__name__: fact() for fact in facts}


def steal_share(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """The share of CPU time taken by other machines between two `gather(MOMENTS)`."""
    first, last = before.get("cpu_ticks"), after.get("cpu_ticks")
    if not first or not last or last["total"] <= first["total"]:
        return None
    share: float = (last["steal"] - first["steal"]) / (last["total"] - first["total"])
    return share


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _first_value(file: Path, key: str) -> str | None:
    for line in (_read(file) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
