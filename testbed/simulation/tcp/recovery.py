"""What a loss does to the window of a connection: from the loss until all that was in flight then has arrived.

* it goes down step by step (proportional rate reduction, RFC 6937), after a timeout at once;
* a recovery that turns out to have been for nothing is undone (Eifel, RFC 3522; DSACK, RFC 3708; tcp_try_undo_*,
  net/ipv4/tcp_input.c).
"""

from __future__ import annotations

from enum import Enum, auto
from math import ceil

from testbed.simulation.tcp.flight import Flight
from testbed.simulation.tcp.receiver import Ack
from testbed.simulation.tcp.window import Window


class State(Enum):
    OPEN = auto()
    RECOVERY = auto()
    LOSS = auto()  # after a timeout


class Recovery:
    __slots__ = (
        "_again", "_arrived_since", "_before", "_first_again_ns", "_flight", "_high", "_may_undo", "_sent_since",
        "_threshold_before", "_window", "state",
    )  # fmt: skip

    def __init__(self, flight: Flight, window: Window) -> None:
        self._flight = flight
        self._window = window
        self.state = State.OPEN
        self._high = 0  # it ends when all below it has arrived
        self._arrived_since = self._sent_since = 0
        # was it for nothing?
        self._may_undo = False
        self._before = 0  # the window
        self._threshold_before = 0.0
        self._first_again_ns: int | None = None
        self._again = -1  # retransmissions that have not turned out to be duplicates; -1: there was none

    def begin(self) -> None:
        """Something was lost."""
        self._begin_undo()
        self._window.reduce()
        self.state, self._high = State.RECOVERY, self._flight.next
        self._arrived_since = self._sent_since = 0

    def timed_out(self) -> None:
        """What is lost is marked, and the first of it is about to be sent again."""
        if self.state is not State.LOSS or self._flight.acknowledged >= self._high:
            self._begin_undo()
            self._window.reduce()
        self.state, self._high = State.LOSS, self._flight.next
        self._window.collapse(self._flight.under_way)

    def sent(self) -> None:
        """Anything."""
        if self.state is State.RECOVERY:
            self._sent_since += 1

    def sent_again(self, now_ns: int) -> None:
        self._again = max(self._again, 0) + 1
        if self._first_again_ns is None:
            self._first_again_ns = now_ns

    def came_twice(self) -> None:
        if self._again > 0:
            self._again -= 1

    def acknowledged(self, ack: Ack, advanced: bool) -> None:
        if self.state is State.OPEN:
            return
        if not (advanced and ack.expected >= self._high):
            self._undo_if_for_nothing(ack, advanced)
        elif not self._undo_if_for_nothing(ack, True):
            if self.state is State.RECOVERY:
                self._window.segments = int(self._window.threshold)
            self.state = State.OPEN

    def reduce(self, arrived: int, newly_lost: bool, advanced: bool) -> None:
        """RFC 6937: about as many are sent as arrive, so that the window meets the threshold when all has arrived."""
        if arrived <= 0:
            return
        under_way, threshold = self._flight.under_way, self._window.threshold
        self._arrived_since += arrived
        room = int(threshold) - under_way
        if room < 0:
            count = ceil(threshold * self._arrived_since / self._before) - self._sent_since
        else:
            count = max(self._arrived_since - self._sent_since, arrived)
            count = min(room, count + (advanced and not newly_lost))
        self._window.segments = under_way + max(count, 0 if self._sent_since else 1)

    def _begin_undo(self) -> None:
        self._before, self._threshold_before = self._window.segments, self._window.threshold
        self._first_again_ns, self._again, self._may_undo = None, -1, True

    def _undo_if_for_nothing(self, ack: Ack, advanced: bool) -> bool:
        first = self._first_again_ns
        delayed = advanced and first is not None and ack.echo_ns < first
        if not self._may_undo or not (delayed or self._again == 0):
            return False
        if ack.expected < self._high and self._flight.resent:
            return False  # it stays as it is until they have arrived
        self._flight.none_is_lost()
        self._window.segments = max(self._window.segments, self._before)
        self._window.threshold = max(self._window.threshold, self._threshold_before)
        self._may_undo = False
        self.state = State.OPEN
        return True
