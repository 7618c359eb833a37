"""The round-trip time as a sender estimates it, and the retransmission timeout made of it (RFC 6298, as Linux has it).

RTO = SRTT + max(4 RTTVAR, 200 ms), at most 120 s (tcp_rtt_estimator, tcp_set_rto, net/ipv4/tcp_input.c; TCP_RTO_MIN,
TCP_RTO_MAX, include/net/tcp.h). A connection starts with a settled estimate: it has pinged its peer before the phase.
"""

from __future__ import annotations

from testbed.system.units import NS_PER_MS, NS_PER_S

MIN_RTO_NS = 200 * NS_PER_MS
MAX_RTO_NS = 120 * NS_PER_S


class Estimate:
    __slots__ = ("_most_ns", "_next", "_variation_ns", "backed_off_ns", "least_ns", "smoothed_ns", "spread_ns")

    def __init__(self, rtt_ns: int) -> None:
        self.smoothed_ns = rtt_ns
        self.least_ns = rtt_ns
        self.spread_ns = MIN_RTO_NS  # Linux' rttvar: 4 RTTVAR of the RFC, with its floor
        self.backed_off_ns = 0  # the timeout after timeouts in a row; 0: there was none
        self._variation_ns = 0  # mean deviation, times 4
        self._most_ns = MIN_RTO_NS  # largest deviation of this round
        self._next = 0  # the round ends when the segment of this number is acknowledged

    @property
    def rto_ns(self) -> int:
        return self.backed_off_ns or min(self.smoothed_ns + self.spread_ns, MAX_RTO_NS)

    def back_off(self) -> None:
        self.backed_off_ns = min(2 * self.rto_ns, MAX_RTO_NS)

    def measured(self, rtt_ns: int, acknowledged: int, upcoming: int) -> None:
        """A round trip, all below `acknowledged` having arrived; the next segment has the number `upcoming`."""
        self.backed_off_ns = 0
        error = rtt_ns - self.smoothed_ns
        self.smoothed_ns += error // 8
        if error < 0:
            error = -error - self._variation_ns // 4
            if error > 0:
                error //= 8  # a falling round trip must not raise the timeout
        else:
            error -= self._variation_ns // 4
        self._variation_ns += error
        if self._variation_ns > self._most_ns:
            self._most_ns = self._variation_ns
            self.spread_ns = max(self.spread_ns, self._most_ns)
        if acknowledged > self._next:
            if self._most_ns < self.spread_ns:
                self.spread_ns -= (self.spread_ns - self._most_ns) // 4
            self._next = upcoming
            self._most_ns = MIN_RTO_NS
