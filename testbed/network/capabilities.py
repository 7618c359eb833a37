"""What this machine can do for the network, found by trying it in a scratch namespace, and the fabric that follows.

Rules kept: no silent fallback (the chosen fabric comes with its reason; `lab` is only used when asked for), and every
lack comes with the one command that mends it. Probing leaves nothing behind: the namespace ends with the process.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from testbed.errors import MachineCannot
from testbed.network.fabric import FabricName
from testbed.network.hosts import MININET_MEND, as_root, load_mininet

FabricChoice = Literal["auto", "netem", "lab", "relay"]

# Each is added to the loopback of a scratch namespace. The `u32` filter needs a parent to hang on.
PROBES = {
    "netem": "tc qdisc add dev lo root netem delay 1000us",
    "htb": "tc qdisc add dev lo root handle 1: htb",
    "tbf": "tc qdisc add dev lo root tbf rate 10mbit burst 10kb latency 10ms",
    "u32": "tc qdisc add dev lo root handle 1: htb && "
    "tc filter add dev lo parent 1: protocol ip prio 1 u32 match ip src 10.0.0.1/32 flowid 1:1",
    "fq": "tc qdisc add dev lo root fq",
}


@dataclass(frozen=True)
class Capabilities:
    """Facts only; what follows from them is said by `lacks` and `choose_fabric`."""

    kernel: str
    cores: int
    root: bool
    qdiscs: dict[str, bool] = field(default_factory=dict)
    kernel_modules: bool = False  # whether the running kernel could load sch_netem at all
    tun: bool = False
    uml: bool = False
    mininet: bool = False
    mnexec: bool = False  # the distribution's; a stand-in is used otherwise
    tools: dict[str, bool] = field(default_factory=dict)
    docker_client: bool = False
    docker_engine: str | None = None  # server version; None when no engine answers
    gpus: int = 0
    cgroup_version: int = 0
    tcp_congestion_control: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Lack:
    """Something this machine is without, what that costs, and the one command that mends it."""

    what: str
    effect: str
    mend: str


TOOL_PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ethtool": "ethtool",
}


def probe_capabilities() -> Capabilities:
    """Looks at the machine; takes some tens of milliseconds, and up to seconds when a Docker engine hangs."""
    release = platform.release()
    return Capabilities(
        kernel=release,
        cores=len(os.sched_getaffinity(0)),
        root=os.geteuid() == 0,
        qdiscs={name: _in_scratch_namespace(command) for name, command in PROBES.items()},
        kernel_modules=Path("/lib/modules", release).is_dir(),
        tun=_opens("/dev/net/tun"),
        uml=shutil.which("linux.uml") is not None and Path("/usr/lib/uml/modules").is_dir(),
        mininet=_imports_mininet(),
        mnexec=shutil.which("mnexec") is not None,
        tools={name: shutil.which(name) is not None for name in TOOL_PACKAGES},
        docker_client=shutil.which("docker") is not None,
        docker_engine=_output(["docker", "version", "--format", "{{.Server.Version}}"]) or None,
        gpus=(_output(["nvidia-smi", "--list-gpus"]) or "").count("GPU "),
        cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        tcp_congestion_control=_read("/proc/sys/net/ipv4/tcp_congestion_control"),
    )


def lacks(caps: Capabilities) -> list[Lack]:
    """Everything missing that some part of the testbed would use."""
    found: list[Lack] = []

    def lack(missing: bool, what: str, effect: str, mend: str) -> None:
        if missing:
            found.append(Lack(what, effect, mend))

    lack(not caps.root, "root", "no network namespaces, so no fabric at all", as_root())
    lack(not caps.mininet, "Mininet", "no nodes, so no emulation", MININET_MEND)
    for tool, present in caps.tools.items():
        package = TOOL_PACKAGES[tool]
        lack(not present, tool, "no emulated network", f"apt-get install {package}")
    for name in ("netem", "htb", "u32"):
        lack(not caps.qdiscs.get(name, False), f"kernel {name}", "no fabric netem", _kernel_mend(name, caps))
    lack(not caps.tun, "/dev/net/tun", "no fabric relay", "modprobe tun")
    lack(not caps.uml, "User-Mode Linux", "no fabric lab", "apt-get install user-mode-linux")
    return found


def choose_fabric(requested: FabricChoice, caps: Capabilities) -> tuple[FabricName, str]:
    """The fabric to use and why; MachineCannot when the one asked for, or every one, is out of reach."""
    obstacles: dict[FabricName, Callable[[Capabilities], Lack | None]] = {
        "netem": lambda c: _first(c, {"root", "Mininet", "kernel netem", "kernel htb", "kernel u32", *TOOL_PACKAGES}),
        "relay": lambda c: _first(c, {"root", "Mininet", "/dev/net/tun", "ip", "nsenter", "unshare"}),
        "lab": lambda c: _first(c, {"root", "Mininet", "User-Mode Linux", *TOOL_PACKAGES}),
    }
    if requested != "auto":
        if (lack := obstacles[requested](caps)) is not None:
            raise MachineCannot(f"fabric {requested}: this machine lacks {lack.what}; {lack.mend}")
        return requested, "asked for"
    if (no_netem := obstacles["netem"](caps)) is None:
        return "netem", "the kernel has netem"
    if (no_relay := obstacles["relay"](caps)) is None:
        return "relay", f"this machine lacks {no_netem.what}"
    if no_netem == no_relay:
        raise MachineCannot(f"fabric auto: this machine lacks {no_netem.what}; {no_netem.mend}")
    ways = f"{no_netem.what} for netem ({no_netem.mend}) and {no_relay.what} for relay ({no_relay.mend})"
    raise MachineCannot(f"fabric auto: this machine lacks {ways}")


def _first(caps: Capabilities, needed: set[str]) -> Lack | None:
    return next((lack for lack in lacks(caps) if lack.what in needed), None)


def _kernel_mend(name: str, caps: Capabilities) -> str:
    module = {"netem": "sch_netem", "htb": "sch_htb", "u32": "cls_u32"}[name]
    if not caps.kernel_modules:  # a kernel built without modules: no package brings them
        return f"kernel {caps.kernel} has no {module} and loads no modules: --fabric relay or --fabric lab"
    return f'apt-get install "linux-modules-extra-{caps.kernel}" && modprobe {module}'


def _in_scratch_namespace(command: str) -> bool:
    """Whether the command works in a network namespace of its own; without root, inside a user namespace."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    try:
        return subprocess.run([*unshare, "sh", "-c", command], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _imports_mininet() -> bool:
    try:
        load_mininet()
    except MachineCannot:
        return False
    return True


def _opens(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError:
        return False
    return True


def _output(argv: list[str]) -> str | None:
    """Standard output of a command that may not exist, fail or hang."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
