"""Who may be served now: first come, first served, as far as key-value memory and the batch size reach.

Rule kept: a request is admitted with all the memory it can ever need (its prompt and its token limit), so that an
admitted one never has to be thrown out again; what does not fit waits, and is not overtaken.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from testbed.errors import RunInvalid
from testbed.wire.messages import Open, Request


class Admissible(Protocol):
    """A request, and the most tokens that it can come to hold."""

    @property
    def request(self) -> Request | Open: ...

    @property
    def reserved(self) -> int: ...


One = TypeVar("One", bound=Admissible)


class Admission(Generic[One]):
    """`capacity` in cached tokens; None: not bounded. `most` requests at a time."""

    def __init__(self, capacity: int | None, most: int) -> None:
        self.running: dict[int, One] = {}  # by request, in the order of their admission
        self.waiting: deque[One] = deque()
        self._capacity = capacity
        self._most = most
        self._reserved = 0

    def arrive(self, sequence: One) -> None:
        """Raises RunInvalid for a request that no waiting would help."""
        if self._capacity is not None and sequence.reserved > self._capacity:
            raise RunInvalid(
                f"request {sequence.request.request} may need {sequence.reserved} tokens of cache, but the target's "
                f"device holds {self._capacity}: it could never be served; use shorter outputs or another device"
            )
        self.waiting.append(sequence)

    def admit(self) -> list[One]:
        """Lets in whom there is room for; returns them."""
        admitted = []
        while self.waiting and len(self.running) < self._most and self._fits(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.running[sequence.request.request] = sequence
            self._reserved += sequence.reserved
            admitted.append(sequence)
        return admitted

    def find(self, request: int) -> One | None:
        """The request, running or waiting; None once it has left."""
        if request in self.running:
            return self.running[request]
        return next((one for one in self.waiting if one.request.request == request), None)

    def replace(self, sequence: One) -> None:
        """In the place of the request of its number, of whose text it may need no more memory."""
        number = sequence.request.request
        if number in self.running:
            self._reserved += sequence.reserved - self.running[number].reserved
            self.running[number] = sequence
            return
        place = next(index for index, one in enumerate(self.waiting) if one.request.request == number)
        self.waiting[place] = sequence

    def withdraw(self, request: int) -> None:
        """The request leaves, running or waiting."""
        if request in self.running:
            self.leave(request)
            return
        self.waiting = deque(one for one in self.waiting if one.request.request != request)

    def leave(self, request: int) -> None:
        self._reserved -= self.running.pop(request).reserved

    def _fits(self, sequence: One) -> bool:
        return self._capacity is None or self._reserved + sequence.reserved <= self._capacity
