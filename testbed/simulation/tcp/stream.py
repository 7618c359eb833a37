"""One direction of a TCP connection, event by event: what Linux does to a message that is lost, late or held back.

* a segment is lost once one sent later has arrived and a reordering window of a quarter of the least round trip has
  passed (RACK, RFC 8985; net/ipv4/tcp_recovery.c): with later messages in flight a loss costs about 1.25 round trips;
* the last of what is in flight is sent again as a probe after 2 SRTT + 2 ms, a lone one after 2 SRTT + 200 ms (tail
  loss probe, RFC 8985 section 7; tcp_schedule_loss_probe, net/ipv4/tcp_output.c), but no later than its timeout, which
  is sooner for a lone one: SRTT + 200 ms (RFC 6298);
* then timeouts, doubled each time up to 120 s (tcp_retransmit_timer, net/ipv4/tcp_timer.c);
* a recovery takes the window down step by step (proportional rate reduction, RFC 6937), and one that turns out to have
  been for nothing is undone (Eifel, RFC 3522; DSACK, RFC 3708; tcp_try_undo_*, net/ipv4/tcp_input.c).

Timers are exact: a kernel's tick (1 to 4 ms) is not modelled, nor are F-RTO's probes (RFC 5682), whose end the
timestamps bring about too, and a receiver whose buffer is full.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import ceil
from typing import Any

from testbed.simulation.kernel import Kernel
from testbed.simulation.tcp.estimate import MIN_RTO_NS, Estimate
from testbed.simulation.tcp.path import Path
from testbed.simulation.tcp.receiver import Ack, Receiver
from testbed.simulation.tcp.segments import HEADER_BYTES, Delivered, Segment
from testbed.simulation.tcp.window import Window
from testbed.system.units import NS_PER_MS

TIMER_NS = 2 * NS_PER_MS  # TCP_TIMEOUT_MIN_US, include/net/tcp.h
DUPLICATES = 3  # segments beyond a hole that prove a loss where no reordering has been seen
MOST_STEPS = 255  # quarters of a round trip that the reordering window may grow to


class State(Enum):
    OPEN = auto()
    RECOVERY = auto()
    LOSS = auto()  # after a timeout


class Alarm(Enum):
    PROBE = auto()
    REORDER = auto()
    TIMEOUT = auto()


class Stream:
    """From a sender over `there` to a receiver, whose acknowledgements come over `back`."""

    def __init__(self, kernel: Kernel, there: Path, back: Path, rtt_ns: int) -> None:
        self._kernel = kernel
        self._there, self._back = there, back
        self._receiver = Receiver()
        self._estimate = Estimate(rtt_ns)
        self._window = Window()
        self._unsent: deque[Segment] = deque()
        self._out: deque[Segment] = deque()  # not acknowledged as a whole, by number
        self._made = 0  # segments
        self._next = 0  # the number of the next one to be sent
        self._sent_ns = 0  # the last one, or again
        self._sacked = self._lost = self._resent = 0  # of those that are out
        self._state = State.OPEN
        self._high = 0  # a recovery ends when all below it has arrived
        # the segment sent last of those that have arrived (RACK)
        self._latest = (-1, -1)  # when, number
        self._latest_rtt_ns = rtt_ns
        self._later_arrived = False
        self._farthest = -1  # the highest number that has arrived
        self._reordered = False  # ever
        self._steps = 1
        self._widened = 0  # not again before all below it has arrived
        # the recovery of now: proportional rate reduction, and whether it was for nothing
        self._before = 0  # the window
        self._threshold_before = 0.0
        self._arrived_since = self._sent_since = 0
        self._first_again_ns: int | None = None
        self._again = -1  # retransmissions that have not turned out to be duplicates; -1: there was none
        self._may_undo = False
        self._probed: int | None = None  # all below it has been sent when a probe was
        self._probe_was_new = False
        # one event at a time, at or before the time of the alarm
        self._alarm: Alarm | None = None
        self._alarm_ns = 0
        self._event_ns: int | None = None

    @property
    def window(self) -> int:
        return self._window.segments

    def send(self, size_bytes: int, delivered: Delivered, argument: Any) -> None:
        """`delivered(argument)` is called when all of the message has arrived, in the order of sending."""
        now_ns = self._kernel.now_ns
        if not self._out:
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

    # --- sending ---

    @property
    def _under_way(self) -> int:
        return len(self._out) - self._sacked - self._lost + self._resent

    def _send_new(self) -> None:
        sent = False
        while self._unsent and self._under_way < self._window.segments:
            self._send_next()
            sent = True
        if sent:
            self._probe_later(advanced=False)

    def _send_next(self) -> None:
        """Something that was not sent before, whatever the window says."""
        segment = self._unsent.popleft()
        alone = not self._out
        self._out.append(segment)
        self._next = segment.number + 1
        self._transmit(segment)
        if alone or self._alarm is Alarm.PROBE:
            self._restart_timer()
        limited = self._under_way >= self._window.segments
        first = self._out[0].number
        self._window.used(self._sent_ns, len(self._out), limited, first, self._next, self._estimate.rto_ns)

    def _send_again(self, segment: Segment) -> None:
        if not segment.resent:
            segment.resent = True
            self._resent += 1
        segment.retransmitted = True
        self._again = max(self._again, 0) + 1
        if self._first_again_ns is None:
            self._first_again_ns = self._kernel.now_ns
        self._transmit(segment)

    def _transmit(self, segment: Segment) -> None:
        now_ns = segment.sent_ns = self._sent_ns = self._kernel.now_ns
        if self._state is State.RECOVERY:
            self._sent_since += 1
        at_ns = self._there.arrives_ns(now_ns, segment.size_bytes + HEADER_BYTES)
        if at_ns is not None:
            self._kernel.at(at_ns, self._arrived, (segment, now_ns))

    def _arrived(self, what: tuple[Segment, int]) -> None:
        """At the receiver."""
        ack = self._receiver.arrived(*what)
        at_ns = self._back.arrives_ns(self._kernel.now_ns, HEADER_BYTES)
        if at_ns is not None:
            self._kernel.at(at_ns, self._acknowledged, ack)

    def _send_lost(self) -> None:
        for segment in self._out:
            if self._under_way >= self._window.segments:
                return
            if segment.lost and not segment.resent:
                self._send_again(segment)
                if segment is self._out[0] and self._alarm is not Alarm.REORDER:
                    self._set(Alarm.TIMEOUT, self._kernel.now_ns + self._estimate.rto_ns)

    # --- acknowledgements ---

    def _acknowledged(self, ack: Ack) -> None:
        now_ns = self._kernel.now_ns
        before = self._next - len(self._out)  # all below it had arrived
        lost_before = self._lost
        arrived, rtt_ns, whole = self._take_out(ack, now_ns)
        advanced = ack.expected > before
        if rtt_ns is None and advanced and not whole:
            rtt_ns = now_ns - ack.echo_ns
        if rtt_ns is not None:
            self._estimate.measured(rtt_ns, ack.expected, self._next)
        if ack.twice is not None:
            self._came_twice(ack)
        self._end_of_probe(ack, advanced, arrived)
        if self._state is not State.OPEN and advanced and ack.expected >= self._high:
            self._recovered(ack)
        elif self._state is not State.OPEN:
            self._undo_if_for_nothing(ack, advanced)
        waits = self._find_lost()
        if self._lost and self._state is State.OPEN:
            self._recover()
        if advanced and not waits:
            self._timer_after_ack()
        if self._state is State.RECOVERY:
            self._reduce(arrived, self._lost > lost_before, advanced)
        elif arrived and (advanced or self._reordered):
            self._window.arrived(now_ns, arrived, self._estimate.least_ns)
        self._send_lost()
        self._send_new()

    def _take_out(self, ack: Ack, now_ns: int) -> tuple[int, int | None, bool]:
        """How many arrived that had not before; the round trip of one that was sent once; is that what there is?"""
        arrived = 0
        rtt_ns: int | None = None
        again = False
        farthest = self._farthest
        out = self._out
        while out and out[0].number < ack.expected:
            segment = out.popleft()
            if segment.sacked:
                self._sacked -= 1
                continue
            arrived += 1
            self._arrived_now(segment, farthest)
            if segment.retransmitted:
                again = True
            elif rtt_ns is None:
                rtt_ns = now_ns - segment.sent_ns
                self._estimate.least_ns = min(self._estimate.least_ns, rtt_ns)
        rtt_ns = None if again else rtt_ns
        for number in ack.beyond:
            if not out or number < out[0].number:
                continue
            segment = out[number - out[0].number]
            if segment.sacked:
                continue
            arrived += 1
            self._arrived_now(segment, farthest)
            segment.sacked = True
            self._sacked += 1
            if rtt_ns is None and not segment.retransmitted:
                rtt_ns = now_ns - segment.sent_ns
        return arrived, rtt_ns, rtt_ns is not None

    def _arrived_now(self, segment: Segment, farthest: int) -> None:
        if segment.lost:
            segment.lost = False
            self._lost -= 1
        if segment.resent:
            segment.resent = False
            self._resent -= 1
        if segment.number < farthest and not segment.retransmitted:
            self._reordered = True
        self._farthest = max(self._farthest, segment.number)
        rtt_ns = self._kernel.now_ns - segment.sent_ns
        if segment.retransmitted and rtt_ns < self._estimate.least_ns:
            return  # the answer to the first transmission
        self._later_arrived = True
        self._latest_rtt_ns = rtt_ns
        self._latest = max(self._latest, (segment.sent_ns, segment.number))

    def _came_twice(self, ack: Ack) -> None:
        if self._again > 0:
            self._again -= 1
        if ack.expected >= self._widened:
            self._steps = min(self._steps + 1, MOST_STEPS)
            self._widened = self._next

    # --- what is lost (RACK) ---

    def _find_lost(self) -> bool:
        """Marks what is; True if some more may turn out to be, so that an alarm was set."""
        if not self._later_arrived:
            return False
        self._later_arrived = False
        out = self._out
        if not out or not (self._sacked or self._lost or self._resent or out[0].before(*self._latest)):
            return False
        now_ns, window_ns = self._kernel.now_ns, self._reordering_ns()
        wait_ns = 0
        for segment in out:
            if segment.sacked or (segment.lost and not segment.resent) or not segment.before(*self._latest):
                continue
            remaining_ns = self._latest_rtt_ns + window_ns - (now_ns - segment.sent_ns)
            if remaining_ns <= 0:
                self._mark(segment)
            else:
                wait_ns = max(wait_ns, remaining_ns)
        if wait_ns:
            self._set(Alarm.REORDER, now_ns + wait_ns + TIMER_NS)
        return wait_ns > 0

    def _reordering_ns(self) -> int:
        if not self._reordered and (self._state is not State.OPEN or self._sacked >= DUPLICATES):
            return 0
        return min(self._estimate.least_ns // 4 * self._steps, self._estimate.smoothed_ns)

    def _mark(self, segment: Segment) -> None:
        if segment.resent:
            segment.resent = False
            self._resent -= 1
        if not segment.lost:
            segment.lost = True
            self._lost += 1

    # --- recovery ---

    def _recover(self) -> None:
        self._begin_undo()
        self._window.reduce()
        self._state, self._high = State.RECOVERY, self._next
        self._arrived_since = self._sent_since = 0

    def _begin_undo(self) -> None:
        self._before, self._threshold_before = self._window.segments, self._window.threshold
        self._first_again_ns, self._again, self._may_undo = None, -1, True

    def _reduce(self, arrived: int, newly_lost: bool, advanced: bool) -> None:
        """RFC 6937: about as many are sent as arrive, so that the window meets the threshold when all has arrived."""
        if arrived <= 0:
            return
        self._arrived_since += arrived
        room = int(self._window.threshold) - self._under_way
        if room < 0:
            count = ceil(self._window.threshold * self._arrived_since / self._before) - self._sent_since
        else:
            count = max(self._arrived_since - self._sent_since, arrived)
            count = min(room, count + (advanced and not newly_lost))
        self._window.segments = self._under_way + max(count, 0 if self._sent_since else 1)

    def _recovered(self, ack: Ack) -> None:
        if not self._undo_if_for_nothing(ack, True):
            if self._state is State.RECOVERY:
                self._window.segments = int(self._window.threshold)
            self._state = State.OPEN

    def _undo_if_for_nothing(self, ack: Ack, advanced: bool) -> bool:
        first = self._first_again_ns
        delayed = advanced and first is not None and ack.echo_ns < first
        if not self._may_undo or not (delayed or self._again == 0):
            return False
        if ack.expected < self._high and self._resent:
            return False  # it stays as it is until they have arrived
        for segment in self._out:
            if segment.lost:
                segment.lost = False
                self._lost -= 1
        self._window.segments = max(self._window.segments, self._before)
        self._window.threshold = max(self._window.threshold, self._threshold_before)
        self._may_undo = False
        self._state = State.OPEN
        return True

    # --- timers ---

    def _probe_later(self, advanced: bool) -> bool:
        if self._state is not State.OPEN or self._sacked or not self._out:
            return False
        now_ns, estimate = self._kernel.now_ns, self._estimate
        wait_ns = 2 * estimate.smoothed_ns + (MIN_RTO_NS if len(self._out) == 1 else TIMER_NS)
        until_timeout_ns = estimate.rto_ns - (0 if advanced else now_ns - self._out[0].sent_ns)
        if until_timeout_ns > 0:
            wait_ns = min(wait_ns, until_timeout_ns)
        self._set(Alarm.PROBE, now_ns + wait_ns)
        return True

    def _timer_after_ack(self) -> None:
        if not self._out:
            self._alarm = None
        elif not self._probe_later(advanced=True):
            self._restart_timer()

    def _restart_timer(self) -> None:
        now_ns, rto_ns = self._kernel.now_ns, self._estimate.rto_ns
        if not self._out:
            self._alarm = None
        elif self._alarm in (Alarm.REORDER, Alarm.PROBE):
            self._set(Alarm.TIMEOUT, max(now_ns + 1, self._out[0].sent_ns + rto_ns))
        else:
            self._set(Alarm.TIMEOUT, now_ns + rto_ns)

    def _set(self, alarm: Alarm, at_ns: int) -> None:
        self._alarm, self._alarm_ns = alarm, at_ns
        if self._event_ns is None or at_ns < self._event_ns:
            self._event_ns = at_ns
            self._kernel.at(at_ns, self._tick, at_ns)

    def _tick(self, at_ns: int) -> None:
        if at_ns != self._event_ns:
            return  # another event has come before it
        self._event_ns = None
        alarm = self._alarm
        if alarm is None:
            return
        if self._kernel.now_ns < self._alarm_ns:
            self._set(alarm, self._alarm_ns)
            return
        self._alarm = None
        if alarm is Alarm.PROBE:
            self._probe()
        elif alarm is Alarm.REORDER:
            self._waited()
        else:
            self._timeout()

    def _waited(self) -> None:
        """The reordering window of a segment is over."""
        lost = self._lost
        self._later_arrived = True
        self._find_lost()
        if self._lost > lost:
            if self._state is State.OPEN:
                self._recover()
            if self._state is State.RECOVERY:
                self._reduce(1, True, False)
            self._send_lost()
        if self._alarm is not Alarm.TIMEOUT and self._alarm is not Alarm.REORDER:
            self._restart_timer()

    def _probe(self) -> None:
        if self._probed is None and self._out:
            self._probe_was_new = bool(self._unsent)
            if self._unsent:
                self._send_next()
            else:
                self._send_again(self._out[-1])
            self._probed = self._next
        self._set(Alarm.TIMEOUT, self._kernel.now_ns + self._estimate.rto_ns)

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

    def _timeout(self) -> None:
        if not self._out:
            return
        self._probed = None
        if self._state is not State.LOSS or self._out[0].number >= self._high:
            self._begin_undo()
            self._window.reduce()
        now_ns = self._kernel.now_ns
        for segment in self._out:
            old = self._latest_rtt_ns <= now_ns - segment.sent_ns
            if not segment.sacked and (segment is self._out[0] or old):
                self._mark(segment)
        self._state, self._high = State.LOSS, self._next
        self._window.collapse(self._under_way)
        self._send_again(self._out[0])
        self._estimate.back_off()
        self._set(Alarm.TIMEOUT, now_ns + self._estimate.rto_ns)
