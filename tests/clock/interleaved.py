"""Processes that share a clock, one step of one of them at a time, in an order that a test chooses.

A step is one load or store of a shared cell, one look at the real time, or one attempt at the exclusion: what a kernel
can suspend a process between. Each process is a thread that waits for its turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from testbed.clock.held import CELLS, HeldClock, prepare

START_NS = 1_000_000_000


class Killed(BaseException):
    """The process ended here."""


@dataclass
class Reading:
    """What a process was shown, from step to step."""

    began: int
    ended: int
    value: int


@dataclass
class Barrier:
    """In force from the step at which it was made to the one at which its holder began to change it, or died."""

    made: int
    due_ns: int
    over: int | None = None


class World:
    """One clock, its processes, and real time, which passes as steps are taken."""

    def __init__(self, dilation: float = 1.0, limit_ns: int = 1 << 60) -> None:
        self.plain = [0] * CELLS
        prepare(self.plain, START_NS, dilation, limit_ns)
        self.real_ns = START_NS
        self.step = 0
        self.owner: Process | None = None
        self.processes: list[Process] = []
        self.readings: list[Reading] = []
        self.barriers: list[Barrier] = []

    def process(self, act: Callable[[Process], None]) -> Process:
        one = Process(self, len(self.processes), act)
        self.processes.append(one)
        return one

    def run(self, order: Sequence[tuple[int, int]]) -> None:
        """Steps of the processes named, real time passing before each; then of all in turn until they have ended."""
        try:
            for number, passes_ns in order:
                self.one_step(self.processes[number % len(self.processes)], passes_ns)
            for _ in range(20_000):
                ready = [one for one in self.processes if one.goes_on]
                if not ready:
                    return
                self.one_step(ready[self.step % len(ready)], 1_000)
            raise AssertionError("processes have not come to an end")
        finally:
            for one in self.processes:
                one.kill()

    def one_step(self, one: Process, passes_ns: int) -> None:
        self.step += 1
        self.real_ns += passes_ns
        if one.goes_on:
            one.turn()

    def check(self) -> None:
        """Readings never go back, whoever reads; none is beyond a barrier in force; none lies in the past."""
        seen = sorted(self.readings, key=lambda one: one.began)
        for one in seen:
            earlier = [other.value for other in seen if other.ended < one.began]
            assert one.value >= max(earlier, default=0), f"{one} after {max(earlier)}"
            for barrier in self.barriers:
                if barrier.made <= one.ended and (barrier.over is None or one.ended < barrier.over):
                    assert one.value <= barrier.due_ns, f"{one} beyond {barrier}"
        for barrier in self.barriers:
            before = [one.value for one in seen if one.ended < barrier.made]
            assert barrier.due_ns >= max(before, default=0), f"{barrier} after {max(before)}"


class Process:
    """One of the world's; `act` uses `read` and `barrier`."""

    def __init__(self, world: World, slot: int, act: Callable[[Process], None]) -> None:
        self.world = world
        self.lives = True
        self.stopped = False
        self.failure: BaseException | None = None
        self._dying = False
        self._mine = threading.Semaphore(0)
        self._worlds = threading.Semaphore(0)
        self._current: Barrier | None = None
        self._started = False
        self._thread = threading.Thread(target=self._live, args=(act,), daemon=True)
        self.clock = HeldClock(Cells(self), self._look, self, lambda number: world.processes[number].lives, slot)

    # --- what it does ---

    def read(self) -> int:
        began = self.world.step
        value = self.clock.now_ns()
        self.world.readings.append(Reading(began, self.world.step, value))
        return value

    def set_barrier(self, due_ns: int) -> None:
        self._over()
        barrier = self.clock.set_barrier(due_ns)
        self._current = Barrier(self.world.step, barrier)
        self.world.barriers.append(self._current)

    def _over(self) -> None:
        if self._current is not None and self._current.over is None:
            self._current.over = self.world.step
        self._current = None

    # --- the exclusion, which the system gives back for the dead ---

    def take(self) -> None:
        while not self.try_take():
            pass

    def try_take(self) -> bool:
        self.wait()
        if self.world.owner is not None:
            return False
        self.world.owner = self
        return True

    def give_back(self) -> None:
        self.wait()
        assert self.world.owner is self
        self.world.owner = None

    # --- turns ---

    @property
    def goes_on(self) -> bool:
        return self.lives and not self.stopped

    def turn(self) -> None:
        """Up to its next step, or its end."""
        if not self._started:
            self._started = True
            self._thread.start()
        else:
            self._mine.release()
        self._worlds.acquire()
        if self.failure is not None:
            raise self.failure

    def step(self) -> None:
        """Before each access; not while the clock is being made, outside the thread."""
        if threading.current_thread() is self._thread:
            self.wait()

    def wait(self) -> None:
        if self._dying:
            raise Killed
        self._worlds.release()
        self._mine.acquire()
        if self._dying:
            raise Killed

    def kill(self) -> None:
        """Between two steps, wherever it is."""
        if not self.lives:
            return
        self.lives = False
        self._over()
        if self.world.owner is self:
            self.world.owner = None
        self._dying = True
        if self._started:
            self._mine.release()
            self._thread.join()

    def _live(self, act: Callable[[Process], None]) -> None:
        try:
            act(self)
        except Killed:
            return
        except BaseException as failure:
            self.failure = failure
        if not self._dying:
            self.lives = False
            self._over()
        self._worlds.release()

    def _look(self) -> int:
        self.wait()
        return self.world.real_ns


class Cells:
    """The world's cells as one process reaches them: each access is a step."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._plain = process.world.plain

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self._plain)))]
        self._process.step()
        return self._plain[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._process.step()
        self._plain[index] = value
