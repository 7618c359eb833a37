"""Jobs of many devices that one model worker computes: earliest due first.

Rule kept: a device's own jobs stay in order, as in the one queue that it is. When a job is due follows from the same
arithmetic as its pacing (`testbed.nodes.pacing`), with real passes that take no time. Knows time only as numbers.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, NamedTuple, TypeVar

J = TypeVar("J")


class Due(NamedTuple, Generic[J]):
    """Ordered by `due_ns`, then by `serial`: a device's later job is never due before its earlier one."""

    due_ns: int
    serial: int
    device: str
    job: J


class DueQueue(Generic[J]):
    """All jobs not yet computed. A device that leaves takes its jobs along."""

    def __init__(self) -> None:
        self._heap: list[Due[J]] = []
        self._free_ns: dict[str, int] = {}  # when each device will have done what was put so far
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, device: str, submitted_ns: int, paced_ns: int, job: J) -> None:
        """`paced_ns`: how long the emulated device takes for it; 0 for one that is not paced."""
        due_ns = self._free_ns[device] = max(submitted_ns, self._free_ns.get(device, 0)) + paced_ns
        self._serial += 1
        heappush(self._heap, Due(due_ns, self._serial, device, job))

    def first(self) -> Due[J] | None:
        """The job that is due first, which stays; None when there is none."""
        while self._heap and self._heap[0].device not in self._free_ns:
            heappop(self._heap)
        return self._heap[0] if self._heap else None

    def take(self) -> Due[J]:
        """Removes and returns `first()`, which must be some job."""
        first = self.first()
        assert first is not None
        return heappop(self._heap)

    def drop(self, device: str) -> None:
        """The device is gone, and its jobs have no recipient."""
        self._free_ns.pop(device, None)
