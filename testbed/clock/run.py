"""A run's clock as its engine has it: the page made and removed, stopped nodes excused, and what each phase cost.

Rule kept: how long the clock was held, and by whom, is reported for every phase.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import NamedTuple, Self

from testbed.clock.held import Holds
from testbed.clock.page import MEMORY, Page, make
from testbed.errors import MachineCannot
from testbed.system.journal import Journal
from testbed.system.units import NS_PER_MS, NS_PER_S

SETTLE_S = 0.001  # a process that was sent SIGSTOP may run on for some microseconds
TAKEN_S = 0.05  # nothing that runs keeps the exclusion for so long


class RunClock:
    """The page of one run. Use as a context manager; whatever happens, the journal removes its folder."""

    def __init__(self, journal: Journal, dilation: float = 1.0, contained: bool = False) -> None:
        """`contained`: nodes in containers, which have another user, are to write to it.

        Their engine sees the run's own folder, and need not see this machine's /dev/shm.
        """
        folder = journal.path.parent / "clock" if contained else MEMORY / f"wan-testbed-{secrets.token_hex(8)}"
        journal.directory(folder)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            fix = "" if contained else f"; fix: mount -t tmpfs none {MEMORY}"
            raise MachineCannot(f"clock: {folder}: {error.strerror}{fix}") from error
        self.path = folder / "clock"
        self.dilation = dilation
        make(self.path, dilation, 0o666 if contained else 0o600)
        self._page = Page(self.path)
        self.clock = self._page.reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close()

    def excuse(self, node: str) -> bool:
        """A node was stopped on purpose: the clock does not wait for it. False if it was just changing the clock."""
        time.sleep(SETTLE_S)
        if not self._page.free(TAKEN_S):
            return False
        for slot in self.clock.slots():
            if self._page.name(slot) == node:
                self.clock.lift_barrier(slot)
        return True

    def forget_longest(self) -> None:
        """What is reported as the longest hold is one of those to come."""
        self.clock.forget_longest()

    def moment(self) -> Moment:
        """Now, to be compared with a later one."""
        holds = {self._page.name(slot): self.clock.holds(slot) for slot in self.clock.slots()}
        return Moment(time.monotonic_ns(), self.clock.now_ns(), holds, time.time_ns())


class Moment(NamedTuple):
    """The machine's clock, the run's, and what each process has held it for so far."""

    wall_ns: int
    virtual_ns: int
    holds: dict[str, Holds]
    since_1970_ns: int = 0  # the machine's clock as people read it


class Held(NamedTuple):
    """What one process held the clock for in a phase. `broken`: how often it held it for too long, and was given up."""

    ms: float
    times: int
    longest_ms: float
    broken: int


class PhaseClock(NamedTuple):
    """How the clock went in one phase: `speed` is virtual by wall time, `held_share` the part of it that it stood."""

    policy: str
    repeat: int
    wall_s: float
    virtual_s: float
    held_share: float
    speed: float
    holders: dict[str, Held]
    began: str  # by the machine's clock, UTC
    began_ns: int  # by the run's, as in the log


def between(policy: str, repeat: int, first: Moment, last: Moment, dilation: float) -> PhaseClock:
    """`longest_ms` is of the whole run so far, but its pilot, where a process held the clock in this phase."""
    wall_ns, virtual_ns = last.wall_ns - first.wall_ns, last.virtual_ns - first.virtual_ns
    speed = virtual_ns / wall_ns if wall_ns else 1.0 / dilation
    none = Holds(0, 0, 0, 0)
    holders = {}
    for name, now in last.holds.items():
        before = first.holds.get(name, none)
        times, broken = now.times - before.times, now.broken - before.broken
        if times or broken:
            held_ms = (now.held_ns - before.held_ns) / NS_PER_MS
            holders[name] = Held(round(held_ms, 3), times, round(now.longest_ns / NS_PER_MS, 3), broken)
    return PhaseClock(
        policy,
        repeat,
        round(wall_ns / NS_PER_S, 3),
        round(virtual_ns / NS_PER_S, 3),
        round(max(0.0, 1.0 - speed * dilation), 6),
        round(speed, 6),
        holders,
        datetime.fromtimestamp(first.since_1970_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds"),
        first.virtual_ns,
    )
