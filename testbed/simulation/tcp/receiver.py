"""The receiving end of one direction: delivers messages in order, and acknowledges every segment as it comes.

Rule kept: an acknowledgement says all that arrived (RFC 2018; Linux' three blocks hold what is out of order here),
which segment came twice (RFC 2883), and when what moved it was sent (RFC 7323). None is delayed: the routes of a run's
nodes have `quickack` (`network/tcproutes.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from testbed.simulation.tcp.segments import Segment


class Ack(NamedTuple):
    expected: int  # all segments below it have arrived
    beyond: tuple[int, ...]  # and these
    echo_ns: int  # when the last segment that was due had been sent
    twice: int | None


class Receiver:
    __slots__ = ("_beyond", "_echo_ns", "_expected")

    def __init__(self) -> None:
        self._expected = 0
        self._beyond: dict[int, Segment] = {}
        self._echo_ns = 0

    def arrived(self, segment: Segment, sent_ns: int) -> Ack:
        """Hands over what can be handed over now."""
        number = segment.number
        if number <= self._expected:
            self._echo_ns = max(self._echo_ns, sent_ns)
        if number < self._expected or number in self._beyond:
            return Ack(self._expected, tuple(self._beyond), self._echo_ns, number)
        self._beyond[number] = segment
        while (due := self._beyond.pop(self._expected, None)) is not None:
            self._expected += 1
            for delivered, argument in due.messages:
                delivered(argument)
        return Ack(self._expected, tuple(self._beyond), self._echo_ns, None)
