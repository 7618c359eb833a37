"""What this process may do to networks, and how an ordinary user comes to make some: in its own user namespace.

In its own user namespace (user_namespaces(7)) a process has every capability over the network namespaces it makes
there, and none over the machine. Rules kept: the process stays in the machine's network namespace, so it can fetch
models and sees whether root emulates; files stay owned by the user; what is refused is tried for real
first, because some kernels grant the namespace and refuse its capabilities (AppArmor on Ubuntu since 23.10).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from testbed.errors import MachineCannot
from testbed.system.linux import CLONE_NEWNET, CLONE_NEWUSER

Privilege = Literal["root", "container", "user namespace", "none"]

CAP_NET_ADMIN, CAP_SYS_MODULE, CAP_SYS_ADMIN = 12, 16, 21  # linux/capability.h
WHOLE_MAP = ["0", "0", "4294967295"]  # /proc/PID/uid_map of the initial user namespace
SECCOMP_MODE_FILTER = "2"  # linux/seccomp.h, as /proc/PID/status shows it
UNPRIVILEGED_SWITCHES = {  # sysctl: value that forbids, value that fixes
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.unprivileged_userns_clone": ("0", "1"),  # Debian's and Ubuntu's kernels
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu since 23.10; fixed for this program alone
}
TRIAL_LIMIT_S = 30.0
GROUP = "testbed"  # of users that may do more here than others: nothing is opened to everybody


def as_root() -> str:
    """How to run this very installation as root: sudo does not keep the PATH of a virtual environment."""
    if sys.prefix == sys.base_prefix:
        return "sudo testbed ..."
    program, here = Path(sys.prefix, "bin", "testbed"), Path.cwd()
    return f"sudo {program.relative_to(here) if program.is_relative_to(here) else program} ..."


def privilege() -> Privilege:
    """Where this process's right to make network namespaces comes from, if it has it."""
    return privilege_of(_status()["CapEff"], _read("/proc/self/uid_map"))


def privilege_of(effective: str, uid_map: str) -> Privilege:
    """From CapEff of /proc/PID/status and /proc/PID/uid_map.

    `container`: root that may make networks but load no kernel module, as an engine's --cap-add leaves it.
    """
    held = int(effective, 16)
    if not all(held >> capability & 1 for capability in (CAP_NET_ADMIN, CAP_SYS_ADMIN)):
        return "none"
    if uid_map.split() != WHOLE_MAP:
        return "user namespace"
    return "root" if held >> CAP_SYS_MODULE & 1 else "container"


def user_outside() -> int:
    """The user who owns what this process makes: not 0, as inside a user namespace, but who it really is."""
    return outside(os.geteuid(), _read("/proc/self/uid_map"))


def outside(uid: int, uid_map: str) -> int:
    """`uid` as the namespace around this one knows it."""
    for line in uid_map.splitlines():
        inside, there, count = map(int, line.split())
        if inside <= uid < inside + count:
            return there + uid - inside
    return uid


def enter_user_namespace() -> None:
    """Puts this process into its own user namespace, as root there. Raises MachineCannot, naming the fix.

    Only a process without threads may do this, so it comes before imports that start some.
    """
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        reason = os.strerror(ctypes.get_errno())
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads > 1:
            raise MachineCannot(f"user namespace: this process has {threads} threads already; {as_root()}")
        raise MachineCannot(f"user namespace: refused ({reason}); {namespace_fix()}")
    Path("/proc/self/setgroups").write_text("deny")  # user_namespaces(7): else gid_map is not ours to write
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")


def user_namespace_allowed() -> bool:
    """Whether `enter_user_namespace` would give the rights that networks need, tried in its own process."""
    argv = [sys.executable, "-m", "testbed.system.userns"]
    try:
        return subprocess.run(argv, capture_output=True, timeout=TRIAL_LIMIT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def gain_privilege() -> Privilege:
    """Enters a user namespace where that is needed and possible; returns the privilege there is then.

    `none` is not an error here: what needs a network says so, with the fix, when it needs one.
    """
    if privilege() == "none" and user_namespace_allowed():
        enter_user_namespace()
    return privilege()


def namespace_fix() -> str:
    """The one command that would give this user a user namespace, or root instead."""
    settings = {name: _read("/proc/sys/" + name.replace(".", "/")) for name in UNPRIVILEGED_SWITCHES}
    return fix_of(settings, filtered=_status().get("Seccomp") == SECCOMP_MODE_FILTER)


def apparmor_profile() -> str:
    """The command that lets this interpreter, and no other program, have the capabilities of its user namespaces."""
    interpreter = os.path.realpath(sys.executable)
    return (
        f"printf 'abi <abi/4.0>,\\nprofile wan-testbed %s flags=(unconfined) {{ userns, }}\\n' {interpreter} "
        "| sudo tee /etc/apparmor.d/wan-testbed && sudo apparmor_parser -r /etc/apparmor.d/wan-testbed"
    )


def join_group() -> str:
    """The command that makes the group, where there is none, and this user a member of it."""
    return f'sudo groupadd -f {GROUP} && sudo usermod -aG {GROUP} "$USER"'


def fix_of(settings: Mapping[str, str], filtered: bool) -> str:
    """From the sysctls of UNPRIVILEGED_SWITCHES (empty where absent), and whether system calls are filtered."""
    for name, (forbids, allows) in UNPRIVILEGED_SWITCHES.items():
        if settings.get(name) == forbids:
            return apparmor_profile() if "apparmor" in name else f"sudo sysctl {name}={allows}"
    if filtered:
        return (
            "start the container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined "
            "--device /dev/net/tun"
        )
    return as_root()


def _status() -> dict[str, str]:
    pairs = (line.partition(":") for line in _read("/proc/self/status").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _try() -> None:
    """Enters, and does what every node needs: a network namespace whose loopback comes up."""
    from testbed.system.netns import Interface

    enter_user_namespace()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise MachineCannot("user namespace: it may not create network namespaces")
    with Interface("lo") as loopback:
        loopback.bring_up()


if __name__ == "__main__":
    _try()
