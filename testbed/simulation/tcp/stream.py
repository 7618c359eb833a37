"""One direction of a TCP connection, event by event: what Linux does to a message that is lost, late or held back.

What goes out when, and what an acknowledgement or an alarm brings about. Each decision has its own module: what
is lost (`losses`), how the window comes down and up again (`recovery`, `window`), when to ask (`alarms`, `estimate`).

* with later messages in flight a loss costs about 1.25 round trips, since the later ones show it;
* the last of what is in flight is sent again as a probe (RFC 8985 section 7);
* then timeouts, doubled each time up to 120 s.

Not modelled: F-RTO's probes (RFC 5682), whose end the timestamps bring about too, and a receiver whose buffer is full.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from testbed.simulation.kernel import Kernel
from testbed.simulation.tcp.alarms import Alarm, Alarms
from testbed.simulation.tcp.estimate import Estimate
from testbed.simulation.tcp.flight import Flight
from testbed.simulation.tcp.losses import Losses
from testbed.simulation.tcp.path import Path
from testbed.simulation.tcp.receiver import Ack, Receiver
from testbed.simulation.tcp.recovery import Recovery, State
from testbed.simulation.tcp.segments import HEADER_BYTES, Delivered, Segment
from testbed.simulation.tcp.window import Window


class Stream:
    """From a sender over `there` to a receiver, whose acknowledgements come over `back`."""

    def __init__(self, kernel: Kernel, there: Path, back: Path, rtt_ns: int) -> None:
        self._kernel = kernel
        self._there, self._back = there, back
        self._receiver = Receiver()
        self._estimate = Estimate(rtt_ns)
        self._window = Window()
        self._flight = Flight()
        self._losses = Losses(self._flight, self._estimate)
        self._recovery = Recovery(self._flight, self._window)
        self._alarms = Alarms(kernel, self._flight, self._estimate, self._due)
        self._unsent: deque[Segment] = deque()
        self._made = 0  # segments
        self._sent_ns = 0  # the last one, or again
        self._probed: int | None = None  # all below it has been sent when a probe was
        self._probe_was_new = False

    @property
    def window(self) -> int:
        return self._window.segments

    def send(self, size_bytes: int, delivered: Delivered, argument: Any) -> None:
        """`delivered(argument)` is called when all of the message has arrived, in the order of sending."""
        now_ns = self._kernel.now_ns
        if not self._flight.out:
            self._window.idle(now_ns - self._sent_ns, now_ns, self._estimate.rto_ns)
        left_bytes = max(size_bytes, 1)
        if self._unsent:
            left_bytes = self._unsent[-1].fill(left_bytes)
        while left_bytes:
            segment = Segment(self._made)
            self._made += 1
            left_bytes = segment.fill(left_bytes)
            self._unsent.append(segment)
        self._unsent[-1].messages.append((delivered, argument))
        self._send_new()

    @property
    def _recovering(self) -> bool:
        return self._recovery.state is not State.OPEN

    # --- sending ---

    def _send_new(self) -> None:
        sent = False
        while self._unsent and self._flight.under_way < self._window.segments:
            self._send_next()
            sent = True
        if sent:
            self._alarms.after_sending(self._recovering)

    def _send_next(self) -> None:
        """Something that was not sent before, whatever the window says."""
        flight, alarms = self._flight, self._alarms
        segment = self._unsent.popleft()
        alone = not flight.out
        flight.sent(segment)
        self._transmit(segment)
        if alone or alarms.alarm is Alarm.PROBE:
            alarms.restart()
        limited = flight.under_way >= self._window.segments
        out, first = len(flight.out), flight.acknowledged
        self._window.used(self._sent_ns, out, limited, first, flight.next, self._estimate.rto_ns)

    def _send_again(self, segment: Segment) -> None:
        self._flight.sent_again(segment)
        self._recovery.sent_again(self._kernel.now_ns)
        self._transmit(segment)

    def _send_lost(self) -> None:
        flight, alarms = self._flight, self._alarms
        if not flight.lost:
            return
        for segment in flight.out:
            if flight.under_way >= self._window.segments:
                return
            if segment.lost and not segment.resent:
                self._send_again(segment)
                if segment is flight.out[0] and alarms.alarm is not Alarm.REORDER:
                    alarms.time_out_later()

    def _transmit(self, segment: Segment) -> None:
        now_ns = segment.sent_ns = self._sent_ns = self._kernel.now_ns
        self._recovery.sent()
        at_ns = self._there.arrives_ns(now_ns, segment.size_bytes + HEADER_BYTES)
        if at_ns is not None:
            self._kernel.at(at_ns, self._arrived, (segment, now_ns))

    def _arrived(self, what: tuple[Segment, int]) -> None:
        """At the receiver."""
        ack = self._receiver.arrived(*what)
        at_ns = self._back.arrives_ns(self._kernel.now_ns, HEADER_BYTES)
        if at_ns is not None:
            self._kernel.at(at_ns, self._acknowledged, ack)

    # --- acknowledgements ---

    def _acknowledged(self, ack: Ack) -> None:
        now_ns, flight = self._kernel.now_ns, self._flight
        advanced = ack.expected > flight.acknowledged
        lost_before = flight.lost
        arrived, rtt_ns = self._losses.acknowledged(ack, now_ns)
        if rtt_ns is None and advanced:
            rtt_ns = now_ns - ack.echo_ns
        if rtt_ns is not None:
            self._estimate.measured(rtt_ns, ack.expected, flight.next)
        if ack.twice is not None:
            self._recovery.came_twice()
            self._losses.came_twice(ack.expected)
        self._end_of_probe(ack, advanced, arrived)
        self._recovery.acknowledged(ack, advanced)
        waits = self._find_lost()
        if flight.lost and not self._recovering:
            self._recovery.begin()
        if advanced and not waits:
            self._alarms.after_acknowledgement(self._recovering)
        if self._recovery.state is State.RECOVERY:
            self._recovery.reduce(arrived, flight.lost > lost_before, advanced)
        elif arrived and (advanced or self._losses.reordered):
            self._window.arrived(now_ns, arrived, self._estimate.least_ns)
        self._send_lost()
        self._send_new()

    def _find_lost(self) -> bool:
        """True if some more may turn out to be, so that an alarm was set."""
        wait_ns = self._losses.find(self._kernel.now_ns, self._recovering)
        if wait_ns:
            self._alarms.look_again_in(wait_ns)
        return wait_ns > 0

    def _end_of_probe(self, ack: Ack, advanced: bool, arrived: int) -> None:
        """RFC 8985 section 7.4: was the last one lost, and the probe its repair?"""
        if self._probed is None or ack.expected < self._probed:
            return
        if self._probe_was_new or ack.twice is not None or (not advanced and not arrived):
            self._probed = None
        elif ack.expected > self._probed:
            self._probed = None
            self._window.reduce()
            self._window.segments = int(self._window.threshold)

    # --- alarms ---

    def _due(self, alarm: Alarm) -> None:
        if alarm is Alarm.PROBE:
            self._probe()
        elif alarm is Alarm.REORDER:
            self._waited()
        else:
            self._timeout()

    def _probe(self) -> None:
        flight = self._flight
        if self._probed is None and flight.out:
            self._probe_was_new = bool(self._unsent)
            if self._unsent:
                self._send_next()
            else:
                self._send_again(flight.out[-1])
            self._probed = flight.next
        self._alarms.time_out_later()

    def _waited(self) -> None:
        """The reordering window of a segment is over."""
        lost = self._flight.lost
        self._losses.waited()
        self._find_lost()
        if self._flight.lost > lost:
            if not self._recovering:
                self._recovery.begin()
            if self._recovery.state is State.RECOVERY:
                self._recovery.reduce(1, True, False)
            self._send_lost()
        if self._alarms.alarm not in (Alarm.TIMEOUT, Alarm.REORDER):
            self._alarms.restart()

    def _timeout(self) -> None:
        flight = self._flight
        if not flight.out:
            return
        self._probed = None
        self._losses.timed_out(self._kernel.now_ns)
        self._recovery.timed_out()
        self._send_again(flight.out[0])
        self._estimate.back_off()
        self._alarms.time_out_later()
