"""Who goes first where cores are few: the shaper, then node programs, then model workers, then everything else.

A node program does microseconds of work per message. Left at ordinary priority it waits out a model worker's time slice
(3 to 4 ms on two cores), which would look like network delay.
"""

from __future__ import annotations

import contextlib
import os

FIFO_PRIORITY = 5  # below the shaper's 10
WORKER_NICENESS = -10


def precede_compute() -> str:
    """For node programs: real-time priority where allowed, not handed on to children. Says what was obtained."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(FIFO_PRIORITY))
    except PermissionError:
        return "SCHED_OTHER"
    return f"SCHED_FIFO {FIFO_PRIORITY}"


def precede_ordinary_programs() -> None:
    """For model workers: other load on the machine then shows up later as overruns. Ignored where not allowed."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, WORKER_NICENESS)
