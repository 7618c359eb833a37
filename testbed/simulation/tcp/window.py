"""The congestion window: how many segments may be under way (RFC 5681, RFC 9438; tcp_cubic.c, tcp_output.c of Linux).

* it starts at 10 segments and grows by one for each that arrives (slow start), up to a threshold that the first loss
  sets; above it CUBIC grows it, no slower than Reno would;
* it grows only while it is what holds data back (tcp_is_cwnd_limited): a stream of small messages keeps 10 segments;
* a connection that was idle for a timeout starts again at 10, halved from there for each further timeout until it is
  (tcp_cwnd_restart, `tcp_slow_start_after_idle`, 1 in every new network namespace); one that uses less for a timeout
  loses half of the difference (tcp_cwnd_application_limited);
* a loss takes it to 0.7.

HyStart is not modelled: below 16 segments it does nothing, and beyond them it matters to transfers of more than 60 kB.
"""

from __future__ import annotations

from math import ceil, inf

from testbed.simulation.tcp.segments import INITIAL_WINDOW
from testbed.system.units import NS_PER_MS, NS_PER_S

BETA = 717 / 1024
C = 0.4  # segments/s^3
RENO_ACKS = 8 * (1024 + 717) / 3 / (1024 - 717) / 8  # acknowledged, per segment of the window, for one more
MOST_ACKS_WITHOUT_LOSS = 20
UPDATE_NS = 31 * NS_PER_MS  # HZ / 32: no new slope sooner, unless the window has changed


class Window:
    __slots__ = (
        "_acks", "_count", "_epoch_ns", "_largest", "_limited", "_most_out", "_origin", "_reach_s", "_reno", "_slope",
        "_slope_at", "_stamp_ns", "_until", "_used", "segments", "threshold",
    )  # fmt: skip

    def __init__(self) -> None:
        self.segments = INITIAL_WINDOW
        self.threshold: float = inf
        # is it what holds data back?
        self._limited = False
        self._most_out = 0
        self._until = 0  # this is known for segments up to that number
        self._used = 0
        self._stamp_ns = 0
        # CUBIC
        self._count = 0
        self._largest = 0  # before the last loss
        self._forget()

    def _forget(self) -> None:
        self._epoch_ns = -1
        self._acks = 0.0
        self._origin = 0
        self._reach_s = 0.0
        self._reno = 0
        self._slope = inf
        self._slope_at = (0, -UPDATE_NS)

    # --- use ---

    def used(self, now_ns: int, out: int, limited: bool, acknowledged: int, upcoming: int, rto_ns: int) -> None:
        """Something was sent: `out` segments are out, and the window was what held further ones back, or not."""
        if acknowledged >= self._until or limited or (not self._limited and out > self._most_out):
            self._limited, self._most_out, self._until = limited, out, upcoming
        if self._holds_back():
            self._used, self._stamp_ns = 0, now_ns
            return
        self._used = max(self._used, out)
        if now_ns - self._stamp_ns >= rto_ns:
            used = max(self._used, INITIAL_WINDOW)
            if used < self.segments:
                self.threshold = self._kept_threshold()
                self.segments = (self.segments + used) // 2
            self._used, self._stamp_ns = 0, now_ns

    def idle(self, idle_ns: int, now_ns: int, rto_ns: int) -> None:
        """Nothing was under way for so long, and now something is sent."""
        if self._epoch_ns >= 0:
            self._epoch_ns = min(self._epoch_ns + idle_ns, now_ns)
        if idle_ns <= rto_ns:
            return
        self.threshold = self._kept_threshold()
        least = min(INITIAL_WINDOW, self.segments)
        while (idle_ns := idle_ns - rto_ns) > 0 and self.segments > least:
            self.segments //= 2
        self.segments = max(self.segments, least)
        self._used, self._stamp_ns = 0, now_ns

    def _holds_back(self) -> bool:
        return self._limited or (self.segments < self.threshold and self.segments < 2 * self._most_out)

    def _kept_threshold(self) -> float:
        return max(self.threshold, float(3 * self.segments // 4))

    # --- growth ---

    def arrived(self, now_ns: int, segments: int, least_rtt_ns: int) -> None:
        """So many segments are acknowledged, outside a recovery."""
        if not self._holds_back():
            return
        if self.segments < self.threshold:
            grown = min(self.segments + segments, self.threshold)
            segments -= int(grown) - self.segments
            self.segments = int(grown)
            if segments <= 0:
                return
        self._update(now_ns, segments, least_rtt_ns)
        if self._count >= self._slope:
            self._count = 0
            self.segments += 1
        self._count += segments
        if self._count >= self._slope:
            more = int(self._count / self._slope)
            self._count -= int(more * self._slope)
            self.segments += more

    def _update(self, now_ns: int, segments: int, least_rtt_ns: int) -> None:
        self._acks += segments
        window = self.segments
        if self._slope_at[0] == window and now_ns - self._slope_at[1] <= UPDATE_NS:
            return
        self._slope_at = window, now_ns
        if self._epoch_ns < 0:
            self._epoch_ns, self._acks, self._reno = now_ns, float(segments), window
            above = max(0, self._largest - window)
            self._reach_s, self._origin = (above / C) ** (1 / 3), max(window, self._largest)
        at_s = (now_ns - self._epoch_ns + least_rtt_ns) / NS_PER_S
        target = self._origin + C * (at_s - self._reach_s) ** 3
        slope = window / (target - window) if target > window else 100.0 * window
        if not self._largest:
            slope = min(slope, MOST_ACKS_WITHOUT_LOSS)
        each = RENO_ACKS * window
        while self._acks > each:
            self._acks -= each
            self._reno += 1
        if self._reno > window:
            slope = min(slope, window / (self._reno - window))
        self._slope = float(max(ceil(slope), 2))

    # --- losses ---

    def reduce(self) -> None:
        """Something was lost: the threshold is set; who recovers takes the window there."""
        window = self.segments
        self._largest = int(window * (1 + BETA) / 2) if window < self._largest else window
        self._epoch_ns = -1
        self.threshold = float(max(int(window * BETA), 2))

    def collapse(self, under_way: int) -> None:
        """A timeout: from one segment more than is under way."""
        self._largest = 0
        self._forget()
        self._count = 0
        self.segments = under_way + 1
