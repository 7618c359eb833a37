"""What a process of the testbed may do beyond an ordinary program: nothing, once it is set up.

Programs that need no right of root's from the beginning (nodes, model workers) are started without any; those that
first open something in a node's namespace (relay, probes, capture) give theirs up themselves. Either way for good: the
bounding set is empty and no_new_privs is set, so nothing that they start gets any either (capabilities(7), prctl(2)).
User 0 stays user 0, for a run's files are root's. Standard library only: the relay and the probes start at once.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47  # linux/prctl.h
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
CAPABILITIES = {"dac_read_search": 2, "setpcap": 8, "sys_admin": 21}  # linux/capability.h; by setpriv's names
ENDING_S = 2.0  # a thread that has been joined may still be leaving the kernel
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")


def started_without(argv: Sequence[str], keep: Sequence[str] = ()) -> list[str]:
    """Command line that runs `argv` without any capability but those named (as setpriv(1) names them)."""
    bounding = ",".join(["-all", *(f"+{name}" for name in keep)])
    return [
        *("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"),
        *argv,
    ]


def give_up(keep: Sequence[str] = ()) -> None:
    """This process, which must have one thread only, has no capability any more but those named, and never gets one."""
    kept = {CAPABILITIES[name] for name in keep}
    deadline = time.monotonic() + ENDING_S
    while len(list(Path("/proc/self/task").iterdir())) != 1:
        if time.monotonic() > deadline:
            raise RuntimeError(
                "privileges can only be dropped by all threads at once: drop them before any thread starts"
            )
        time.sleep(0.001)
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments):
            code = ctypes.get_errno()
            raise OSError(code, f"{name}: {os.strerror(code)}")

    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    effective = held("CapEff")
    if effective >> CAPABILITIES["setpcap"] & 1:  # without it there is nothing to drop from: no_new_privs bars gains
        for capability in set(range(int(LAST_CAPABILITY.read_text()) + 1)) - kept:
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))  # 0: this thread
    left = effective & sum(1 << capability for capability in kept)
    # effective, permitted, inheritable; of the capabilities up to 31, then of those beyond
    call("capset", header, ctypes.create_string_buffer(struct.pack("=6I", left, left, 0, 0, 0, 0)))


def held(which: str, pid: int | str = "self") -> int:
    """A set of a process, `CapEff` or `CapBnd` and so on, as in /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value, 16)
    raise KeyError(which)
