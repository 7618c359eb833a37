"""What has been sent in one direction and is not acknowledged as a whole, and what the sender believes of it.

Rule kept: the counts are those of the segments, as each change of a segment's state is made here.
"""

from __future__ import annotations

from collections import deque

from testbed.simulation.tcp.segments import Segment


class Flight:
    __slots__ = ("lost", "next", "out", "resent", "sacked")

    def __init__(self) -> None:
        self.out: deque[Segment] = deque()  # by number, without a gap
        self.next = 0  # the number of the next one to be sent
        self.sacked = self.lost = self.resent = 0  # of those that are out

    @property
    def acknowledged(self) -> int:
        """All below it have arrived."""
        return self.next - len(self.out)

    @property
    def under_way(self) -> int:
        return len(self.out) - self.sacked - self.lost + self.resent

    def sent(self, segment: Segment) -> None:
        """For the first time."""
        self.out.append(segment)
        self.next = segment.number + 1

    def sent_again(self, segment: Segment) -> None:
        if not segment.resent:
            segment.resent = True
            self.resent += 1
        segment.retransmitted = True

    def arrived(self, segment: Segment) -> None:
        """It is neither lost nor under way again."""
        self._found(segment)
        self._no_longer_resent(segment)

    def arrived_out_of_order(self, segment: Segment) -> None:
        self.arrived(segment)
        segment.sacked = True
        self.sacked += 1

    def mark(self, segment: Segment) -> None:
        """It is lost, and so is its retransmission."""
        self._no_longer_resent(segment)
        if not segment.lost:
            segment.lost = True
            self.lost += 1

    def none_is_lost(self) -> None:
        for segment in self.out:
            self._found(segment)

    def _found(self, segment: Segment) -> None:
        if segment.lost:
            segment.lost = False
            self.lost -= 1

    def _no_longer_resent(self, segment: Segment) -> None:
        if segment.resent:
            segment.resent = False
            self.resent -= 1
