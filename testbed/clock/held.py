"""The rule of the run's clock: `virtual = (monotonic - origin) / dilation - held`, and never past a barrier.

Pure: it works on a row of 64-bit cells, a source of real time, a mutual exclusion and a way to see whether a slot's
holder lives; all four arrive as arguments. `page` gives it memory that processes share, tests give it fakes.

A slot is one process's barrier. Reading takes no lock: no reading is beyond `GRANTED`, which only the holder of the
exclusion raises, a little beyond the present and never beyond a barrier. So a barrier holds from the instant it is set,
and readings never go back, in one process or from one to another, whatever is suspended in between. A reader
that finds the exclusion taken shows `GRANTED`: the clock stands for that moment.

Every change is one store of one cell, or an increase of `HELD` before the store that makes it visible, so a process
killed at any instant leaves a clock that goes on. Stores must become visible in order, as on x86-64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol, overload

from testbed.clock.api import NEVER
from testbed.system.units import NS_PER_MS, NS_PER_S, NS_PER_US

SLOTS: Final = 1024
LOGGED_HOLDS: Final = 4096  # the latest ones, for times a moment ago

ORIGIN, RATE, HELD, GRANTED, TOP, HOLDS, LIMIT = range(7)
_DUES: Final = 8
_OF_SLOTS: Final = _DUES + SLOTS
_LOG: Final = _OF_SLOTS + 4 * SLOTS
CELLS: Final = _LOG + 3 * LOGGED_HOLDS

RATE_ONE: Final = 1000  # RATE is the dilation in thousandths
QUANTUM_NS: Final = (
    100 * NS_PER_US
)  # how far beyond the present readers may go by themselves; a barrier set nearer takes effect there
LOOK_NS: Final = 20 * NS_PER_MS  # of real time, between two looks at whether who holds the clock still lives
HOLD_LIMIT_NS: Final = 10 * NS_PER_S  # of real time: a longer hold is ended, and the run is not valid


class Cells(Protocol):
    """64-bit integers; a load or a store of one is never seen half done."""

    @overload
    def __getitem__(self, index: int, /) -> int: ...

    @overload
    def __getitem__(self, index: slice, /) -> Iterable[int]: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


class Exclusion(Protocol):
    """Held by one process at a time; given back by the system when its holder ends."""

    def take(self) -> None: ...

    def try_take(self) -> bool: ...

    def give_back(self) -> None: ...


class Holds(NamedTuple):
    """What one slot held the clock for: virtual time, how often, the longest, how often it was ended by force."""

    held_ns: int
    times: int
    longest_ns: int
    broken: int


class HeldClock:
    """One process's view. Without a `slot` it only reads."""

    def __init__(
        self,
        cells: Cells,
        real_ns: Callable[[], int],
        exclusion: Exclusion,
        lives: Callable[[int], bool],
        slot: int | None = None,
    ) -> None:
        self._cells = cells
        self._real_ns = real_ns
        self._exclusion = exclusion
        self._lives = lives
        self._slot = slot
        self._origin = cells[ORIGIN]
        self._rate = cells[RATE]
        self._barrier = NEVER
        self._looked_ns = 0
        self._now_ns = self._reader()

    @property
    def now_ns(self) -> Callable[[], int]:
        return self._now_ns

    @property
    def dilation(self) -> float:
        return self._rate / RATE_ONE

    def wall_ns(self, virtual_ns: int) -> int:
        return virtual_ns * self._rate // RATE_ONE

    def set_barrier(self, due_ns: int) -> int:
        """See `Clock.set_barrier`. How long the last one held the clock is added to `HELD`."""
        if due_ns == self._barrier:
            return due_ns
        slot, cells = self._slot, self._cells
        assert slot is not None, "a view without a slot has no barrier"
        self._exclusion.take()
        try:
            self._settle(slot)
            if slot >= cells[TOP]:
                cells[TOP] = slot + 1  # first: a barrier is in force once it is set, or not at all
            barrier = due_ns if due_ns > (granted := cells[GRANTED]) else granted
            cells[_DUES + slot] = barrier
        finally:
            self._exclusion.give_back()
        self._barrier = barrier
        return barrier

    def lift_barrier(self, slot: int) -> None:
        """Another slot's, whose holder will not do it."""
        self._exclusion.take()
        try:
            self._settle(slot)
            self._cells[_DUES + slot] = NEVER
        finally:
            self._exclusion.give_back()

    def at_ns(self, monotonic_ns: int) -> int:
        """As far back as the log of holds reaches."""
        self._exclusion.take()
        try:
            cells = self._cells
            count, held_ns, most = cells[HOLDS], cells[HELD], self._first()
            for number in range(count - 1, max(count - LOGGED_HOLDS, 0) - 1, -1):
                entry = _LOG + 3 * (number % LOGGED_HOLDS)
                if cells[entry] <= monotonic_ns:
                    break
                held_ns -= cells[entry + 1]
                most = min(most, cells[entry + 2])
            return min(self._virtual(monotonic_ns, held_ns), most)
        finally:
            self._exclusion.give_back()

    def forget_longest(self) -> None:
        """`Holds.longest_ns` of every slot counts from now on."""
        self._exclusion.take()
        try:
            for slot in self.slots():
                self._cells[_OF_SLOTS + 4 * slot + 2] = 0
        finally:
            self._exclusion.give_back()

    # --- what is reported ---

    def held_ns(self) -> int:
        """Virtual time that the clock was held for so far, by barriers since lifted."""
        return self._cells[HELD]

    def holds(self, slot: int) -> Holds:
        first = _OF_SLOTS + 4 * slot
        return Holds(*(self._cells[first + field] for field in range(4)))

    def slots(self) -> range:
        """Those that have been used."""
        return range(self._top())

    # --- inside ---

    def _virtual(self, real_ns: int, held_ns: int) -> int:
        if self._rate == RATE_ONE:
            return real_ns - held_ns
        return (real_ns - self._origin) * RATE_ONE // self._rate + self._origin - held_ns

    def _reader(self) -> Callable[[], int]:
        """A function separate for each process: where packets are carried, every attribute looked up costs."""
        cells, real_ns, extend, virtual = self._cells, self._real_ns, self._extend, self._virtual

        def undilated() -> int:
            while True:
                held, granted = cells[HELD], cells[GRANTED]
                now = real_ns() - held
                if cells[HELD] == held:  # else it was changed between the two, and nothing follows from them
                    return now if now <= granted else extend(granted)

        def dilated() -> int:
            while True:
                held, granted = cells[HELD], cells[GRANTED]
                now = virtual(real_ns(), held)
                if cells[HELD] == held:
                    return now if now <= granted else extend(granted)

        return undilated if self._rate == RATE_ONE else dilated

    def _extend(self, granted: int) -> int:
        """The present is beyond `granted`: raises it as far as barriers allow. Returns the time."""
        if not self._exclusion.try_take():
            return granted
        try:
            cells = self._cells
            real_ns = self._real_ns()
            now = self._virtual(real_ns, cells[HELD])
            first = self._first()
            if now > first and real_ns - self._looked_ns >= LOOK_NS:
                self._looked_ns = real_ns
                self._look_at_holders(now)
                now, first = self._virtual(self._real_ns(), cells[HELD]), self._first()
            most = min(now + QUANTUM_NS, first)
            if most > cells[GRANTED]:
                cells[GRANTED] = most
            return min(now, cells[GRANTED])
        finally:
            self._exclusion.give_back()

    def _top(self) -> int:
        return min(self._cells[TOP], SLOTS)  # whatever a process has written there

    def _first(self) -> int:
        """The earliest barrier. A slice, for of hundreds of slots it is read ten thousand times a second."""
        return min(self._cells[_DUES : _DUES + self._top()], default=NEVER)

    def _look_at_holders(self, now: int) -> None:
        """Lifts the barriers of the dead, and those that have held the clock for too long."""
        cells = self._cells
        for slot in range(self._top()):
            due_ns = cells[_DUES + slot]
            if now <= due_ns or slot == self._slot:
                continue
            too_long = self.wall_ns(now - due_ns) > cells[LIMIT]
            if too_long or not self._lives(slot):
                self._settle(slot)
                cells[_DUES + slot] = NEVER
                cells[_OF_SLOTS + 4 * slot + 3] += too_long

    def _settle(self, slot: int) -> None:
        """Adds to `HELD` how long a barrier has held the clock. The clock stood, and goes on from where it stood."""
        cells = self._cells
        real_ns = self._real_ns()
        due_ns = cells[_DUES + slot]
        late_ns = self._virtual(real_ns, cells[HELD]) - due_ns
        if late_ns <= 0:
            return
        first = _OF_SLOTS + 4 * slot
        cells[first] += late_ns
        cells[first + 1] += 1
        cells[first + 2] = max(cells[first + 2], late_ns)
        number = cells[HOLDS]
        entry = _LOG + 3 * (number % LOGGED_HOLDS)
        cells[entry], cells[entry + 1], cells[entry + 2] = real_ns, late_ns, due_ns
        cells[HELD] += late_ns
        cells[HOLDS] = number + 1


def prepare(cells: Cells, origin_ns: int, dilation: float = 1.0, limit_ns: int = HOLD_LIMIT_NS) -> None:
    """Fills fresh cells, all 0, before anybody else sees them: virtual time is `origin_ns` at `origin_ns`."""
    for slot in range(SLOTS):
        cells[_DUES + slot] = NEVER
    cells[ORIGIN] = cells[GRANTED] = origin_ns
    cells[RATE] = round(dilation * RATE_ONE)
    cells[LIMIT] = limit_ns
