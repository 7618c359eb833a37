"""How to wait for a time of a clock that may stand still: sleep, look again, and spin only while the clock runs.

Rule kept: nothing spins while the clock is held, because the process that holds it wants the processor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from testbed.clock.api import NEVER, Clock
from testbed.system.units import NS_PER_MS, NS_PER_S, NS_PER_US

SPIN_NS: Final = 120 * NS_PER_US  # of real time: sleep overshoots by about 60 us with a timer slack of 1 ns
STANDING_S: Final = 50e-6  # between two looks at a clock that stands
# A barrier is set a little later than what it is for: a wake-up in time costs no hold.
GRACE_NS: Final = 50 * NS_PER_US
# More than a role takes over an event; what takes longer is kept from its core by something else.
HANDLING_NS: Final = NS_PER_MS


def hold_until(clock: Clock, due_ns: int) -> None:
    """Returns at `due_ns`: sleeps, then spins over the last stretch."""
    now_ns, before = clock.now_ns, -1
    while (now := now_ns()) < due_ns:
        left_ns = clock.wall_ns(due_ns - now)
        if now == before:
            time.sleep(max(STANDING_S, (left_ns - SPIN_NS) / NS_PER_S))
        elif left_ns > SPIN_NS:
            time.sleep((left_ns - SPIN_NS) / NS_PER_S)
        before = now


def left_s(clock: Clock, due_ns: int) -> float:
    """For how long to sleep until `due_ns`, by the machine's clock; 0 once it has come. Look again after that."""
    left_ns = due_ns - clock.now_ns()
    return max(clock.wall_ns(left_ns) / NS_PER_S, STANDING_S) if left_ns > 0 else 0.0


class Barriers:
    """A process's barriers for several purposes, of which the clock is told the earliest."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._dues: dict[object, int] = {}
        self._busy_ns = 0  # until then it can do nothing else

    def set(self, purpose: object, due_ns: int) -> None:
        """In place of the one for this purpose before."""
        self._dues[purpose] = due_ns
        self._tell()

    def lift(self, purpose: object) -> None:
        """Done, or not wanted any more."""
        if self._dues.pop(purpose, None) is not None:
            self._tell()

    def hold_until(self, due_ns: int) -> None:
        """As `hold_until`; other barriers may be earlier, but what they are for must wait until this is over.

        The clock goes no further, whatever other barriers allow, before the next is set or lifted or `go_on` is called.
        """
        self._busy_ns = due_ns + GRACE_NS
        self._tell()
        hold_until(self.clock, due_ns)
        self._busy_ns = 0

    def go_on(self) -> None:
        """What `hold_until` waited for is done: other barriers count again."""
        self._tell()

    def _tell(self) -> None:
        self.clock.set_barrier(self._busy_ns or min(self._dues.values(), default=NEVER))


class Alarm:
    """One call on the event loop at a time of the clock, with a barrier so that it is not late."""

    def __init__(self, barriers: Barriers, due_ns: int, call: Callable[[], object]) -> None:
        self._clock = clock = barriers.clock
        self._barriers = barriers
        self._due_ns = due_ns
        self._call = call
        self._before = -1
        self._handle: asyncio.TimerHandle | None = None
        barriers.set(self, due_ns + GRACE_NS)
        self._wait(clock.now_ns())

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._barriers.lift(self)

    def _wait(self, now: int) -> None:
        left_s = self._clock.wall_ns(max(0, self._due_ns - now)) / NS_PER_S
        if now == self._before:
            left_s = max(left_s, STANDING_S)
        self._before = now
        self._handle = asyncio.get_running_loop().call_later(left_s, self._wake)

    def _wake(self) -> None:
        if (now := self._clock.now_ns()) < self._due_ns:
            self._wait(now)
            return
        self._barriers.set(self, now + HANDLING_NS)
        try:
            self._call()
        finally:
            self._barriers.lift(self)


class Limit:
    """How long something may take: over once that has passed on the run's clock and on the machine's.

    A part of it is packets on links, whose time is the run's, and a part of it programs, whose time is the machine's.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._limits_ns = clock.now_ns() + round(limit_s * NS_PER_S), time.monotonic_ns() + round(limit_s * NS_PER_S)

    def over(self) -> bool:
        virtual_ns, wall_ns = self._limits_ns
        return self._clock.now_ns() > virtual_ns and time.monotonic_ns() > wall_ns


def longest_s(clock: Clock, limit_s: float) -> float:
    """By the machine's clock, for as long as it runs: what `Limit` allows."""
    return limit_s * max(1.0, clock.dilation)
