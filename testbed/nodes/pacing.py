"""Paced compute: a result is held until the emulated device would have finished; a late result is an overrun.

The device is one queue: a pass starts when it was asked for or when the device is free, whichever is later. The real
forward pass runs meanwhile, so the time to carry the job to the worker process is part of the paced time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PassTiming:
    """One forward pass on the emulated device. Nanoseconds of the run's clock, durations in milliseconds."""

    started_ns: int
    finished_ns: int
    paced_ms: float
    real_ms: float
    overrun_ms: float


class DeviceClock:
    """When the emulated device starts and ends each pass. Knows time only through its arguments."""

    def __init__(self) -> None:
        self._free_ns = 0

    def pace(
        self,
        submitted_ns: int,
        real: list[tuple[int, int]],
        paced_ms: list[float],
        took_ns: Sequence[int] | None = None,
    ) -> list[PassTiming]:
        """Times of consecutive passes of one job.

        `real` holds each pass's real (start, end); `paced_ms` what the profile says, 0 for a device that is not paced.
        `took_ns`: how long each took by the machine's clock, where the run's is another. Only the last pass of a job
        has a result that is seen outside, so only it can be late.
        """
        took_ns = took_ns or [end - start for start, end in real]
        timings = []
        ready_ns = max(submitted_ns, self._free_ns)
        for number, ((real_start, real_end), pace, took) in enumerate(zip(real, paced_ms, took_ns, strict=True), 1):
            started = max(ready_ns, real_start) if pace == 0 else ready_ns
            due = started + round(pace * 1e6)
            finished = due if pace and number < len(real) else max(due, real_end)
            overrun = (finished - due) / 1e6 if pace else 0.0
            timings.append(PassTiming(started, finished, pace, took / 1e6, overrun))
            ready_ns = finished
        self._free_ns = ready_ns
        return timings
