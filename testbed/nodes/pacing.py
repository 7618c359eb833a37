"""Paced compute: a result is held until the emulated device would have finished; a late result is an overrun.

The device is one queue: a pass starts when it was asked for or when the device is free, whichever is later. The real
forward pass runs meanwhile, so the time to carry the job to the worker process is part of the paced time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

# A device's step time is what its serving program sees. An answer therefore leaves the worker ahead of its due time by
# what its way to the node program usually takes, at most by this; what is still early there is held until it is due.
MAX_LEAD_NS = 500_000
SPIN_NS = 120_000  # sleep overshoots by about 60 us with a timer slack of 1 ns; spin over the rest


@dataclass(frozen=True)
class PassTiming:
    """One forward pass on the emulated device. Nanoseconds on CLOCK_MONOTONIC, durations in milliseconds."""

    started_ns: int
    finished_ns: int
    paced_ms: float
    real_ms: float
    overrun_ms: float


class DeviceClock:
    """When the emulated device starts and ends each pass. Knows time only through its arguments."""

    def __init__(self) -> None:
        self._free_ns = 0

    def pace(self, submitted_ns: int, real: list[tuple[int, int]], paced_ms: list[float]) -> list[PassTiming]:
        """Times of consecutive passes of one job.

        `real` holds each pass's real (start, end); `paced_ms` what the profile says, 0 for a device that is not paced.
        """
        timings = []
        ready_ns = max(submitted_ns, self._free_ns)
        for (real_start, real_end), pace in zip(real, paced_ms, strict=True):
            started = max(ready_ns, real_start) if pace == 0 else ready_ns
            due = started + round(pace * 1e6)
            finished = max(due, real_end)
            overrun = (finished - due) / 1e6 if pace else 0.0
            timings.append(PassTiming(started, finished, pace, (real_end - real_start) / 1e6, overrun))
            ready_ns = finished
        self._free_ns = ready_ns
        return timings


def hold_until(due_ns: int) -> None:
    """Returns at `due_ns` on CLOCK_MONOTONIC: sleeps, then spins over the last stretch."""
    remaining = due_ns - time.monotonic_ns()
    if remaining > SPIN_NS:
        time.sleep((remaining - SPIN_NS) / 1e9)
    while time.monotonic_ns() < due_ns:
        pass
