"""The one timer of a connection's direction, and for when it is set.

* the last of what is in flight is sent again as a probe after 2 SRTT + 2 ms, a lone one after 2 SRTT + 200 ms (tail
  loss probe, RFC 8985 section 7; tcp_schedule_loss_probe, net/ipv4/tcp_output.c), but no later than its timeout, which
  is sooner for a lone one: SRTT + 200 ms (RFC 6298);
* the end of a reordering window (`losses`) and a timeout (tcp_retransmit_timer, net/ipv4/tcp_timer.c) take its place.

Alarms are exact: a kernel's tick (1 to 4 ms) is not modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from testbed.simulation.kernel import Kernel
from testbed.simulation.tcp.estimate import MIN_RTO_NS, Estimate
from testbed.simulation.tcp.flight import Flight
from testbed.system.units import NS_PER_MS

TIMER_NS = 2 * NS_PER_MS  # TCP_TIMEOUT_MIN_US, include/net/tcp.h


class Alarm(Enum):
    PROBE = auto()
    REORDER = auto()
    TIMEOUT = auto()


class Alarms:
    """`due` is called with the alarm, which is off by then."""

    __slots__ = ("_at_ns", "_due", "_estimate", "_event_ns", "_flight", "_kernel", "alarm")

    def __init__(self, kernel: Kernel, flight: Flight, estimate: Estimate, due: Callable[[Alarm], object]) -> None:
        self._kernel = kernel
        self._flight = flight
        self._estimate = estimate
        self._due = due
        self.alarm: Alarm | None = None
        self._at_ns = 0
        self._event_ns: int | None = None  # one event at a time, at or before the time of the alarm

    def after_sending(self, recovering: bool) -> None:
        """Something new."""
        if not recovering:
            self._probe_later(advanced=False)

    def after_acknowledgement(self, recovering: bool) -> None:
        """Of what was not acknowledged before."""
        if not self._flight.out:
            self.alarm = None
        elif recovering or not self._probe_later(advanced=True):
            self.restart()

    def restart(self) -> None:
        """For the timeout of what is out."""
        out = self._flight.out
        if not out:
            self.alarm = None
        elif self.alarm in (Alarm.REORDER, Alarm.PROBE):
            self._set(Alarm.TIMEOUT, max(self._kernel.now_ns + 1, out[0].sent_ns + self._estimate.rto_ns))
        else:
            self.time_out_later()

    def time_out_later(self) -> None:
        self._set(Alarm.TIMEOUT, self._kernel.now_ns + self._estimate.rto_ns)

    def look_again_in(self, wait_ns: int) -> None:
        """The reordering window of a segment ends then."""
        self._set(Alarm.REORDER, self._kernel.now_ns + wait_ns + TIMER_NS)

    def _probe_later(self, advanced: bool) -> bool:
        flight, estimate = self._flight, self._estimate
        if flight.sacked or not flight.out:
            return False
        now_ns = self._kernel.now_ns
        wait_ns = 2 * estimate.smoothed_ns + (MIN_RTO_NS if len(flight.out) == 1 else TIMER_NS)
        until_timeout_ns = estimate.rto_ns - (0 if advanced else now_ns - flight.out[0].sent_ns)
        if until_timeout_ns > 0:
            wait_ns = min(wait_ns, until_timeout_ns)
        self._set(Alarm.PROBE, now_ns + wait_ns)
        return True

    def _set(self, alarm: Alarm, at_ns: int) -> None:
        self.alarm, self._at_ns = alarm, at_ns
        if self._event_ns is None or at_ns < self._event_ns:
            self._event_ns = at_ns
            self._kernel.at(at_ns, self._tick, at_ns)

    def _tick(self, at_ns: int) -> None:
        if at_ns != self._event_ns:
            return  # another event has come before it
        self._event_ns = None
        alarm = self.alarm
        if alarm is None:
            return
        if self._kernel.now_ns < self._at_ns:
            self._set(alarm, self._at_ns)
            return
        self.alarm = None
        self._due(alarm)
