"""What is asked for the time, and the machine's own clock behind the same interface.

Virtual time is nanoseconds on one clock per run. A process that is about to do something at a known time sets a barrier
there: the clock does not pass it before the process has lifted it, so being late costs wall time and no accuracy. Rule
kept: what takes part in a run looks at no other clock, except to guard the machinery (silence, start-up).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

NEVER: Final = 1 << 62


class Clock(Protocol):
    """One process's view of the run's clock."""

    @property
    def now_ns(self) -> Callable[[], int]:
        """Virtual time. A property, so that who asks often can keep the function."""

    def set_barrier(self, due_ns: int) -> int:
        """The clock does not pass `due_ns` until this process sets another; `NEVER` for none.

        Returns the barrier in force: later than asked if the clock may have passed that already.
        """

    @property
    def dilation(self) -> float:
        """Wall time by virtual time, while the clock runs."""

    def wall_ns(self, virtual_ns: int) -> int:
        """How long so much virtual time takes while the clock runs."""

    def at_ns(self, monotonic_ns: int) -> int:
        """What the clock showed at a moment of CLOCK_MONOTONIC not long ago."""


class WallClock:
    """CLOCK_MONOTONIC itself. It does not wait."""

    @property
    def now_ns(self) -> Callable[[], int]:
        return time.monotonic_ns

    def set_barrier(self, due_ns: int) -> int:
        return due_ns

    @property
    def dilation(self) -> float:
        return 1.0

    def wall_ns(self, virtual_ns: int) -> int:
        return virtual_ns

    def at_ns(self, monotonic_ns: int) -> int:
        return monotonic_ns


WALL: Final = WallClock()
