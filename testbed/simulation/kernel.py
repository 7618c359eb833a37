"""Virtual time: a heap of callbacks, run in the order of their time, and those of one time in the order they came.

Rule kept: the order of two events depends on (time, serial) alone, both integers, so one world runs the same way on
every machine. There is no global state: a world is one `Kernel`, and two of them know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Callback = Callable[[Any], object]

FOREVER_NS = 2**63 - 1  # 292 years: the most that a log's 64-bit column holds


class Kernel:
    """`now_ns` moves only in `run`, from event to event."""

    __slots__ = ("_heap", "_running", "_serial", "events", "now_ns")

    def __init__(self) -> None:
        self.now_ns = 0
        self.events = 0  # run so far; counted when `run` returns
        self._heap: list[tuple[int, int, Callback, Any]] = []
        self._serial = 0
        self._running = False

    def at(self, time_ns: int, callback: Callback, argument: Any = None) -> None:
        """Calls `callback(argument)` at `time_ns`, which may be now but not the past."""
        if time_ns < self.now_ns:
            raise ValueError(f"an event at {time_ns} ns would run in the past of {self.now_ns} ns")
        self._serial += 1
        heappush(self._heap, (time_ns, self._serial, callback, argument))

    def timer(self, time_ns: int, callback: Callback, argument: Any = None) -> Timer:
        """As `at`, but can be cancelled."""
        timer = Timer(callback, argument)
        self.at(time_ns, timer.fire)
        return timer

    def stop(self, _: Any = None) -> None:
        """Ends `run` after the event that calls this; later events stay in the heap."""
        self._running = False

    def run(self, until_ns: int = FOREVER_NS) -> None:
        """Runs events up to and including `until_ns`, or until none is left or `stop` is called."""
        heap, pop, count = self._heap, heappop, 0
        self._running = True
        while self._running and heap and heap[0][0] <= until_ns:
            self.now_ns, _, callback, argument = pop(heap)
            count += 1
            callback(argument)
        self.events += count
        if self._running and until_ns < FOREVER_NS:
            self.now_ns = until_ns


class Timer:
    """One event that may be called off: it stays in the heap and does nothing when its time comes."""

    __slots__ = ("_argument", "_callback", "cancelled")

    def __init__(self, callback: Callback, argument: Any) -> None:
        self._callback = callback
        self._argument = argument
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self, _: Any = None) -> None:
        if not self.cancelled:
            self._callback(self._argument)
