"""Issues a user node's planned requests: back to back, or at their due times whether or not earlier ones have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from testbed.clock.api import WALL
from testbed.clock.waiting import Alarm, Barriers
from testbed.system.units import NS_PER_MS
from testbed.workload.planned import PlannedRequest

IssueRequest = Callable[[PlannedRequest, int], None]


class UserDriver:
    """Closed loop for requests without a due time, open loop for those with one. `on_all_done` is called once.

    Where there are both, those without follow one another once one with a due time has ended.
    """

    def __init__(
        self,
        planned: Sequence[PlannedRequest],
        issue: IssueRequest,
        on_all_done: Callable[[], None],
        barriers: Barriers | None = None,
    ) -> None:
        self._barriers = barriers or Barriers(WALL)
        self._now_ns = self._barriers.clock.now_ns
        self._begin_ns = 0
        self._alarm: Alarm | None = None  # of the next arrival
        self._thinking: Alarm | None = None  # until the next request without a due time
        self._issue = issue
        self._on_all_done = on_all_done
        self._sequential = deque(one for one in planned if one.due_ms is None)
        self._timed = deque(sorted((one for one in planned if one.due_ms is not None), key=_due_ns))
        self._left = len(planned)

    def start(self) -> None:
        self._begin_ns = self._now_ns()
        if self._timed:
            self._await_arrival()
        else:
            self._next()
        if self._left == 0:
            self._on_all_done()

    def stop(self) -> None:
        """No more arrivals."""
        for alarm in (self._alarm, self._thinking):
            if alarm is not None:
                alarm.cancel()

    def _await_arrival(self) -> None:
        self._alarm = Alarm(self._barriers, self._begin_ns + _due_ns(self._timed[0]), self._arrive)

    def _arrive(self) -> None:
        one = self._timed.popleft()
        if self._timed:
            self._await_arrival()
        self._issue(one, self._begin_ns + _due_ns(one))

    def finished(self, request: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._on_all_done()
        else:
            self._next()

    def _next(self) -> None:
        if self._sequential:
            one = self._sequential.popleft()
            now_ns = self._now_ns()
            if one.think_ms:
                at_ns = now_ns + round(one.think_ms * NS_PER_MS)
                self._thinking = Alarm(self._barriers, at_ns, lambda: self._issue(one, at_ns))
            else:
                self._issue(one, now_ns)


def _due_ns(one: PlannedRequest) -> int:
    """After the start."""
    assert one.due_ms is not None
    return round(one.due_ms * NS_PER_MS)
