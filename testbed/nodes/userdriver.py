"""Issues a user node's planned requests: back to back, or at their due times whether or not earlier ones have ended."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from testbed.workload.planned import PlannedRequest

IssueRequest = Callable[[PlannedRequest, int], None]


class UserDriver:
    """Closed loop for requests without a due time, open loop for those with one. `on_all_done` is called once.

    Where there are both, those without follow one another once one with a due time has ended.
    """

    def __init__(self, planned: Sequence[PlannedRequest], issue: IssueRequest, on_all_done: Callable[[], None]) -> None:
        self._issue = issue
        self._on_all_done = on_all_done
        self._sequential = deque(one for one in planned if one.due_ms is None)
        self._timed = [one for one in planned if one.due_ms is not None]
        self._left = len(planned)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        begin_ns = time.monotonic_ns()
        for one in self._timed:
            assert one.due_ms is not None
            scheduled_ns = begin_ns + round(one.due_ms * 1e6)
            loop.call_later(one.due_ms / 1e3, self._issue, one, scheduled_ns)
        if not self._timed:
            self._next()
        if self._left == 0:
            self._on_all_done()

    def finished(self, request: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._on_all_done()
        else:
            self._next()

    def _next(self) -> None:
        if self._sequential:
            one = self._sequential.popleft()
            self._issue(one, time.monotonic_ns())
