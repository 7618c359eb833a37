"""Runs a command that cannot outlive a given process: `python -m testbed.network.lab.keeper PID FDS COMMAND...`.

A User-Mode Linux kernel is a tree of processes, and killing its first one leaves the others running. Here the command
gets its own process namespace, which the kernel empties when its first process dies; that one dies with this
keeper, and the keeper watches PID through a pidfd, which also sees a SIGKILL. Standard library only.

FDS are the descriptors the command inherits, separated by commas.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

from testbed.system.linux import PR_SET_PDEATHSIG
from testbed.system.rights import give_up

CLONE_NEWPID = 0x20000000  # linux/sched.h
PRIORITY = 10  # SCHED_FIFO: above ordinary processes, below the kernel's own threads (50)


def main(arguments: list[str]) -> int:
    watched_pid, descriptors, *command = arguments
    watched = os.pidfd_open(int(watched_pid))
    if os.getppid() != int(watched_pid):  # it died before the line above, and its number may be another process's
        return 1
    take_precedence()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWPID):  # the next child is the first process of the new namespace
        print(f"lab: no process namespace ({os.strerror(ctypes.get_errno())}); fix: run as root", flush=True)
        return 4
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    process = subprocess.Popen(
        command,
        pass_fds=[int(descriptor) for descriptor in descriptors.split(",")],
        preexec_fn=lambda: _of_the_command(libc),
    )
    try:
        select.select([watched, os.pidfd_open(process.pid)], (), ())
    finally:
        process.kill()
        status = process.wait()  # ends only when the namespace is empty
    return status if status >= 0 else 128 - status  # of a signal, as a shell says it


def _of_the_command(libc: ctypes.CDLL) -> None:
    """It has no rights over the machine, and dies with this keeper."""
    give_up()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def take_precedence() -> None:
    """Real-time priority, and with it its own processor choice: both only where they are allowed.

    The kernel and its processes take turns, never two at once: left to wake each other up across processors, a system
    call of the guest costs 70 us instead of 15. At ordinary priority it must be able to evade a busy processor.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        return
    with contextlib.suppress(OSError):  # forbidden, or the set of processors has just been changed from outside
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
