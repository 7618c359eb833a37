"""What this machine can do for the network, found by trying it in a scratch namespace, and the fabric that follows.

Rules kept: no silent fallback (the chosen fabric comes with its reason; `lab` is only used when asked for, or by an
ordinary user who has nothing else), and each missing part comes with the one command that fixes it. Probing leaves
nothing behind: the namespace ends with the process.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from testbed.errors import MachineCannot
from testbed.network.hosts import MININET_FIX, load_mininet
from testbed.network.spec.fabric import FabricName
from testbed.system.userns import GROUP, Privilege, join_group, namespace_fix, privilege, user_namespace_allowed

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
    privilege: Privilege
    user_namespace: bool = False  # whether an ordinary user gets one here
    realtime: bool = False  # whether the shaper may go before everything else
    qdiscs: dict[str, bool] = field(default_factory=dict)
    kernel_modules: bool = False  # whether the running kernel could load sch_netem at all
    loadable: tuple[str, ...] = ()  # modules that are here and not loaded, and would bring a missing qdisc
    tun: bool = False  # whether this user may open it
    tun_mode: str | None = None  # of /dev/net/tun, octal; None where it does not exist
    uml: bool = False
    mininet: bool = False
    mnexec: bool = False  # the distribution's; a stand-in is used otherwise
    tools: dict[str, bool] = field(default_factory=dict)
    docker_client: bool = False
    docker_engine: str | None = None  # server version; None when no engine answers
    gpus: int = 0
    cgroup_version: int = 0
    tcp_congestion_control: str = ""

    @property
    def root(self) -> bool:
        """Root of the machine or of a container, as against a user who only is root in its own namespace."""
        return self.privilege in ("root", "container")

    @property
    def networks(self) -> bool:
        """Whether it may make network namespaces, perhaps inside a user namespace that is yet to be entered."""
        return self.privilege != "none" or self.user_namespace

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Missing:
    """Something this machine is without, what that costs, and the one command that fixes it.

    `opens`: what the command permits, and to whom, where it permits anything; always to the fewest that will do.
    """

    what: str
    effect: str
    fix: str
    opens: str = ""


MODULES = {"netem": "sch_netem", "htb": "sch_htb", "u32": "cls_u32"}  # what the fabric netem needs of the kernel
TUN = "/dev/net/tun"
NOBODY = 65534  # the user that owns nothing, on every Linux distribution
NAMESPACES = "root or user namespaces"
REALTIME = "real-time priority"
OPENS = {  # by a part of the command
    "/etc/apparmor.d": "user namespaces with their capabilities to every program run by this Python interpreter",
    "sysctl user.max_user_namespaces": "user namespaces to every user",
    "sysctl kernel.unprivileged_userns_clone": "user namespaces to every user",
    "seccomp=unconfined": "every system call to this container",
    f"chgrp {GROUP} {TUN}": f"network devices in their own namespaces to members of the group {GROUP}",
    f"@{GROUP} - rtprio": f"all CPU time to members of the group {GROUP}",
    "sched_rt_runtime_us": "all CPU time to real-time programs, so one in a loop stops the machine",
    "SYS_NICE": "all CPU time to this container",
    f"--device {TUN}": "its own network devices to this container",
}
TOOL_PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}


def probe_capabilities() -> Capabilities:
    """Looks at the machine; takes some tens of milliseconds, and up to seconds when a Docker engine hangs."""
    release = platform.release()
    held = privilege()
    qdiscs = _working_qdiscs()
    return Capabilities(
        kernel=release,
        cores=len(os.sched_getaffinity(0)),
        privilege=held,
        user_namespace=_ordinary_users_get_one() if held in ("root", "container") else user_namespace_allowed(),
        realtime=_output(["chrt", "--fifo", "10", "true"]) is not None,
        qdiscs=qdiscs,
        kernel_modules=Path("/lib/modules", release).is_dir(),
        loadable=tuple(module for name, module in MODULES.items() if not qdiscs[name] and _is_here(module)),
        tun=_opens(TUN),
        tun_mode=_mode(TUN),
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


def resolve_fabric(requested: FabricChoice) -> tuple[FabricName, str]:
    """`choose_fabric` for this machine, once the kernel has what it can load."""
    caps = probe_capabilities()
    return choose_fabric(requested, load_modules(caps) if requested in ("auto", "netem") else caps)


def load_modules(caps: Capabilities) -> Capabilities:
    """Root loads what netem misses and the kernel has as a module; what the machine can do then.

    A kernel loads such modules by itself when they are first asked for, except where the distribution forbids that
    (blacklist in /etc/modprobe.d), as Fedora and its relatives do with sch_netem.
    """
    if caps.privilege != "root" or not caps.loadable:
        return caps
    loaded = [module for module in caps.loadable if _output(["modprobe", module]) is not None]
    left = tuple(module for module in caps.loadable if module not in loaded)
    return replace(caps, qdiscs=_working_qdiscs(), loadable=left)


def of_ordinary_user(caps: Capabilities) -> Capabilities:
    """What the same machine could do for an ordinary user."""
    open_to_all = caps.tun_mode is not None and int(caps.tun_mode, 8) & 0o6 == 0o6
    return replace(caps, privilege="none", tun=open_to_all, realtime=False)


def missing(caps: Capabilities) -> list[Missing]:
    """Everything missing that some part of the testbed would use."""
    found: list[Missing] = []

    def check(absent: bool, what: str, effect: str, fix: str, opens: str = "") -> None:
        if absent:
            found.append(Missing(what, effect, fix, opens))

    namespaces = namespace_fix()
    check(not caps.networks, NAMESPACES, "no network namespaces, so no fabric", namespaces, _opened(namespaces))
    check(not caps.mininet, "Mininet", "no nodes, so no emulation", MININET_FIX)
    for tool, present in caps.tools.items():
        package = TOOL_PACKAGES[tool]
        check(not present, tool, "no emulated network", f"apt-get install {package}")
    for name in MODULES:
        check(not caps.qdiscs.get(name, False), f"kernel {name}", "no fabric netem", _kernel_fix(name, caps))
    tun = _tun_fix(caps)
    check(not caps.tun, TUN, "no fabric relay", tun, _opened(tun))
    check(not caps.uml, "User-Mode Linux", "no fabric lab", "apt-get install user-mode-linux")
    delays = "other load delays packets by milliseconds, so more runs will not be valid"
    realtime = _realtime_fix(caps)
    check(not caps.realtime, REALTIME, delays, realtime, _opened(realtime))
    return found


def choose_fabric(requested: FabricChoice, caps: Capabilities) -> tuple[FabricName, str]:
    """The fabric to use and why; MachineCannot when the one asked for, or every one, is out of reach."""
    kernel = {"kernel netem", "kernel htb", "kernel u32"}
    obstacles: dict[FabricName, Callable[[Capabilities], Missing | None]] = {
        "netem": lambda c: _first(c, {NAMESPACES, "Mininet", *kernel, *TOOL_PACKAGES}),
        "relay": lambda c: _first(c, {NAMESPACES, "Mininet", TUN, "nsenter", "unshare", "setpriv"}),
        "lab": lambda c: _first(c, {NAMESPACES, "Mininet", "User-Mode Linux", *TOOL_PACKAGES}),
    }
    if requested != "auto":
        if (one := obstacles[requested](caps)) is not None:
            raise MachineCannot(f"fabric {requested}: this machine lacks {one.what}; {one.fix}")
        return requested, "requested"
    if (no_netem := obstacles["netem"](caps)) is None:
        return "netem", "the kernel has netem"
    if (no_relay := obstacles["relay"](caps)) is None:
        return "relay", f"this machine lacks {no_netem.what}"
    if no_netem == no_relay:
        raise MachineCannot(f"fabric auto: this machine lacks {no_netem.what}; {no_netem.fix}")
    ways = f"{no_netem.what} for netem ({no_netem.fix}) and {no_relay.what} for relay ({no_relay.fix})"
    # root can fix that itself and should know that it has to; an ordinary user may have to live with it
    if not caps.root and obstacles["lab"](caps) is None:
        return "lab", f"this machine lacks {no_netem.what}, and this user {no_relay.what} for relay: {no_relay.fix}"
    raise MachineCannot(f"fabric auto: this machine lacks {ways}")


def _first(caps: Capabilities, needed: set[str]) -> Missing | None:
    return next((one for one in missing(caps) if one.what in needed), None)


def _kernel_fix(name: str, caps: Capabilities) -> str:
    module = MODULES[name]
    if module in caps.loadable:
        return f"sudo modprobe {module}; a run as root does this itself"
    if not caps.kernel_modules:  # a kernel built without modules: no package brings them
        return f"kernel {caps.kernel} has no {module} and loads no modules: --fabric relay or --fabric lab"
    return f'apt-get install "linux-modules-extra-{caps.kernel}" && modprobe {module}'


def _tun_fix(caps: Capabilities) -> str:
    if caps.tun_mode is None:
        return f"sudo modprobe tun, or start the container with --device {TUN}"
    return f"{join_group()} && sudo chgrp {GROUP} {TUN} && sudo chmod 0660 {TUN}, and log in again"


def _realtime_fix(caps: Capabilities) -> str:
    if caps.privilege == "root":  # a kernel that gives this group of processes no real-time budget (RT_GROUP_SCHED)
        return "sysctl kernel.sched_rt_runtime_us=-1"
    if caps.privilege == "container":
        return "start the container with --cap-add SYS_NICE"
    limits = "/etc/security/limits.d/wan-testbed.conf"
    return f"{join_group()} && echo '@{GROUP} - rtprio 10' | sudo tee {limits}, and log in again"


def _opened(command: str) -> str:
    """What a fix permits, in words, by what it does; empty for one that permits nothing that was forbidden."""
    return next((words for part, words in OPENS.items() if part in command), "")


def _working_qdiscs() -> dict[str, bool]:
    return {name: _in_scratch_namespace(command) for name, command in PROBES.items()}


def _is_here(module: str) -> bool:
    return _output(["modprobe", "--dry-run", "--quiet", module]) is not None


def _in_scratch_namespace(command: str) -> bool:
    """Whether the command works in its own network namespace; without root, inside a user namespace."""
    unshare = ["unshare", "--user", "--map-root-user", "--net"] if privilege() == "none" else ["unshare", "--net"]
    try:
        return subprocess.run([*unshare, "sh", "-c", command], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _ordinary_users_get_one() -> bool:
    """Tried as an unprivileged user, with the system's unshare: that user may not be able to read this program."""
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    unshare = ["unshare", "--user", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
    return _output([*drop, *unshare]) is not None


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


def _mode(path: str) -> str | None:
    try:
        return f"{Path(path).stat().st_mode & 0o777:04o}"
    except OSError:
        return None


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
