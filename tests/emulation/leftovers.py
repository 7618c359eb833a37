"""What a run could leave behind, and waiting for what a run does; for tests of its bad days (invariant 5)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.emulation.lock import lock_holder
from testbed.system.journal import state_dir


def remains() -> dict[str, set[str]]:
    """Interfaces, named namespaces, processes, run state, scratch folders."""
    state = state_dir()
    return {
        "interfaces": {path.name for path in Path("/sys/class/net").iterdir()},
        "namespaces": {path.name for path in Path("/run/netns").glob("*")},
        "runs": {path.name for path in state.iterdir() if path.is_dir()} if state.is_dir() else set(),
        "scratch": {path.name for path in Path(tempfile.gettempdir()).glob("wan-testbed-lab-*")},
        "processes": {
            words
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if (words := command_line(path))
            and ("testbed.nodes" in words or "testbed.network" in words or "linux.uml" in words)
            and not somebody_elses(int(path.parent.name))
        },
    }


def somebody_elses(pid: int) -> bool:
    """Whether a testbed that lives, and that these tests did not start, is above this process."""
    above: list[int] = []
    while pid > 1:
        if pid == os.getpid():
            return False
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])  # proc(5): the parent
        except OSError:
            return False
        above.append(pid)
    return any("testbed" in command_line(Path(f"/proc/{one}/cmdline")) for one in above)


def command_line(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def lock_is_free() -> bool:
    return lock_holder() is None


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.05)
