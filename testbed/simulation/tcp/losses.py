"""What acknowledgements say of the segments in flight: which have arrived, and which are lost since later ones have.

A segment is lost once one sent later has arrived and a reordering window of a quarter of the least round trip has
passed (RACK, RFC 8985; net/ipv4/tcp_recovery.c). The window is not waited for where three later ones have arrived and
no reordering has been seen, and it grows with each retransmission that turns out to have been a duplicate.
"""

from __future__ import annotations

from typing import NamedTuple

from testbed.simulation.tcp.estimate import Estimate
from testbed.simulation.tcp.flight import Flight
from testbed.simulation.tcp.receiver import Ack
from testbed.simulation.tcp.segments import Segment

DUPLICATES = 3  # segments beyond a hole that prove a loss where no reordering has been seen
MOST_STEPS = 255  # quarters of a round trip that the reordering window may grow to


class Arrivals(NamedTuple):
    """What one acknowledgement says."""

    segments: int  # that had not arrived before
    rtt_ns: int | None  # the round trip of one that was sent once


class Losses:
    __slots__ = (
        "_estimate", "_farthest", "_flight", "_later_arrived", "_latest", "_latest_rtt_ns", "_steps", "_widened",
        "reordered",
    )  # fmt: skip

    def __init__(self, flight: Flight, estimate: Estimate) -> None:
        self._flight = flight
        self._estimate = estimate
        # the segment sent last of those that have arrived
        self._latest = (-1, -1)  # when, number
        self._latest_rtt_ns = estimate.smoothed_ns
        self._later_arrived = False
        self._farthest = -1  # the highest number that has arrived
        self.reordered = False  # ever
        self._steps = 1
        self._widened = 0  # not again before all below it has arrived

    def acknowledged(self, ack: Ack, now_ns: int) -> Arrivals:
        """Takes out of the flight what has arrived in order, and notes what has beyond it."""
        flight, estimate = self._flight, self._estimate
        arrived = 0
        rtt_ns: int | None = None
        again = False
        farthest = self._farthest
        out = flight.out
        while out and out[0].number < ack.expected:
            segment = out.popleft()
            if segment.sacked:
                flight.sacked -= 1
                continue
            arrived += 1
            flight.arrived(segment)
            self._learn(segment, farthest, now_ns)
            if segment.retransmitted:
                again = True
            elif rtt_ns is None:
                rtt_ns = now_ns - segment.sent_ns
                estimate.least_ns = min(estimate.least_ns, rtt_ns)
        rtt_ns = None if again else rtt_ns
        for number in ack.beyond:
            if not out or number < out[0].number:
                continue
            segment = out[number - out[0].number]
            if segment.sacked:
                continue
            arrived += 1
            flight.arrived_out_of_order(segment)
            self._learn(segment, farthest, now_ns)
            if rtt_ns is None and not segment.retransmitted:
                rtt_ns = now_ns - segment.sent_ns
        return Arrivals(arrived, rtt_ns)

    def _learn(self, segment: Segment, farthest: int, now_ns: int) -> None:
        if segment.number < farthest and not segment.retransmitted:
            self.reordered = True
        self._farthest = max(self._farthest, segment.number)
        rtt_ns = now_ns - segment.sent_ns
        if segment.retransmitted and rtt_ns < self._estimate.least_ns:
            return  # the answer to the first transmission
        self._later_arrived = True
        self._latest_rtt_ns = rtt_ns
        self._latest = max(self._latest, (segment.sent_ns, segment.number))

    def came_twice(self, expected: int) -> None:
        """A segment was sent again for nothing."""
        if expected >= self._widened:
            self._steps = min(self._steps + 1, MOST_STEPS)
            self._widened = self._flight.next

    def find(self, now_ns: int, recovering: bool) -> int:
        """Marks what is lost. Returns after how long some more may turn out to be; 0: none will."""
        if not self._later_arrived:
            return 0
        self._later_arrived = False
        flight, latest = self._flight, self._latest
        out = flight.out
        if not out or not (flight.sacked or flight.lost or flight.resent or out[0].before(*latest)):
            return 0
        window_ns = self._reordering_ns(recovering)
        wait_ns = 0
        for segment in out:
            if segment.sacked or (segment.lost and not segment.resent) or not segment.before(*latest):
                continue
            remaining_ns = self._latest_rtt_ns + window_ns - (now_ns - segment.sent_ns)
            if remaining_ns <= 0:
                flight.mark(segment)
            else:
                wait_ns = max(wait_ns, remaining_ns)
        return wait_ns

    def waited(self) -> None:
        """The reordering window of a segment is over: what is lost may be found by now."""
        self._later_arrived = True

    def timed_out(self, now_ns: int) -> None:
        """The first is lost, and so is all that has been out for longer than the last round trip."""
        flight = self._flight
        for segment in flight.out:
            old = self._latest_rtt_ns <= now_ns - segment.sent_ns
            if not segment.sacked and (segment is flight.out[0] or old):
                flight.mark(segment)

    def _reordering_ns(self, recovering: bool) -> int:
        if not self.reordered and (recovering or self._flight.sacked >= DUPLICATES):
            return 0
        return min(self._estimate.least_ns // 4 * self._steps, self._estimate.smoothed_ns)
