"""Who goes first where cores are few: the shaper, then node programs, then model workers, then everything else.

A node program does microseconds of work per message. Left at ordinary priority it waits out a model worker's time slice
(3 to 4 ms on two cores), which would look like network delay.

Programs take their places themselves where they may. As nodes have no capability, most may not: the engine, which has
it, sets them from outside (`put_first`, `put_second`).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FIFO_PRIORITY = 5  # below the shaper's 10
WORKER_NICENESS = -10
PROGRAM_NICENESS = -20
AUTOGROUP = Path("/proc/self/autogroup")  # proc(5)


def precede_compute() -> str:
    """For node programs: real-time priority where allowed, not handed on to children. Says what was obtained."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
    return obtained()


def obtained(pid: int = 0) -> str:
    """How a process is scheduled; 0: this one."""
    if os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
        return f"SCHED_FIFO {os.sched_getparam(pid).sched_priority}"
    return "SCHED_OTHER"


def put_first(pid: int) -> str:
    """A node program, from outside; says what it got.

    Where the kernel budgets real-time priority by control group (RT_GROUP_SCHED) and gives none, it is all niceness,
    which counts against the node's own model worker: that is what a message would wait for.
    """
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, PROGRAM_NICENESS)
            return f"nice {PROGRAM_NICENESS}"
    try:
        return obtained(pid)
    except ProcessLookupError:
        return "ended"


def put_second(pid: int) -> None:
    """A model worker whose session has nothing else in it but its node, from outside."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, WORKER_NICENESS)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(WORKER_NICENESS))


def precede_ordinary_programs() -> None:
    """For model workers: other load on the machine then shows up later as overruns. Ignored where not allowed.

    Niceness alone ranks the processes of one session where the kernel groups them by session (sched(7), "The autogroup
    feature"), so the session's is set too: of one that begins with this process or its node, and of no other.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, WORKER_NICENESS)
    if os.getsid(0) in (os.getpid(), os.getppid()):
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(WORKER_NICENESS))
