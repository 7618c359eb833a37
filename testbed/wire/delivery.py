"""One node's stream of messages with one peer, over a transport that may lose them: numbered, kept, sent again.

Rules kept: the number is the one every frame carries anyway, so on a transport that loses nothing this adds no message
and no byte. Only messages of policies are counted; pings carry the count without raising it, so a message that was lost
is missed at the next ping at the latest. A receiver that misses one asks for everything after the last it had, until it
arrives. What is kept to be sent again is bounded: a peer that asks for more is lost, and that is an error. On a
transport that keeps order, an answer to a ping says that all before the ping has arrived, and nothing of it is kept any
longer.

A peer that was started anew (another incarnation) knows nothing of what was: it is a stranger, and is not listened to.
Pure: no clock, no transport.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Sent = TypeVar("Sent")
Heard = TypeVar("Heard")

MARKS = 64  # pings without an answer; of older ones none is expected
KEPT = 4096  # messages for a peer; a request of a thousand tokens has about as many


class Delivery(Generic[Sent, Heard]):
    """Both directions with one peer: what is kept to be sent again, and what is handed on in order."""

    def __init__(self) -> None:
        self.sent = 0  # number of the last message sent
        self.heard = 0  # number up to which all messages of the peer were delivered
        self._kept: deque[tuple[int, Sent]] = deque(maxlen=KEPT)
        self._early: dict[int, Heard] = {}
        self._marks: deque[tuple[int, int]] = deque(maxlen=MARKS)  # pings under way: when sent, and what was before
        self._peer: int | None = None  # its incarnation

    def next_number(self) -> int:
        """The number that the next message of a policy goes under."""
        self.sent += 1
        return self.sent

    def keep(self, number: int, message: Sent) -> None:
        """As it is to be sent again. Call once for each number, in order."""
        self._kept.append((number, message))

    def pinged(self, sent_ns: int) -> None:
        self._marks.append((sent_ns, self.sent))

    def ponged(self, ping_sent_ns: int) -> None:
        """The answer to a ping of this time came: what was sent before that ping is there."""
        while self._marks and self._marks[0][0] <= ping_sent_ns:
            _, number = self._marks.popleft()
            while self._kept and self._kept[0][0] <= number:
                self._kept.popleft()

    def interrupted(self) -> None:
        """The transport is another one, or has lost something: pings so far tell nothing of what arrived."""
        self._marks.clear()

    def knows(self, incarnation: int) -> bool:
        """Whether this is the peer that was met first."""
        if self._peer is None:
            self._peer = incarnation
        return incarnation == self._peer

    def received(self, number: int, message: Heard) -> list[Heard]:
        """A message of a policy came under this number; returns what is to be delivered now, in order."""
        if number > self.heard and len(self._early) < KEPT:
            self._early.setdefault(number, message)
        delivered = []
        while (following := self._early.pop(self.heard + 1, None)) is not None:
            self.heard += 1
            delivered.append(following)
        return delivered

    def misses(self, number: int) -> bool:
        """Whether something is missing, now that the peer is known to have sent so many."""
        return number > self.heard

    def again(self, after: int) -> list[tuple[int, Sent]] | None:
        """What the peer did not hear, with its numbers; None if it is kept no longer."""
        self.interrupted()
        if after < self.sent and (not self._kept or self._kept[0][0] > after + 1):
            return None
        return [(number, message) for number, message in self._kept if number > after]
