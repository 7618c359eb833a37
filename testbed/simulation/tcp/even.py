"""One direction of a connection whose links lose nothing and never change: only the congestion window holds messages.

All is known when a message is sent, so there are no events: an acknowledgement comes a round trip after its segment.
Rule kept: the times are those of `stream` on the same link, which a test compares.
"""

from __future__ import annotations

from collections import deque

from testbed.simulation.tcp.estimate import MIN_RTO_NS
from testbed.simulation.tcp.segments import INITIAL_WINDOW, MSS_BYTES
from testbed.simulation.tcp.window import Window

FEW = INITIAL_WINDOW // 2  # so many segments under way neither fill the window nor make it grow


class Even:
    def __init__(self, rtt_ns: int) -> None:
        self._rtt_ns = rtt_ns
        self._rto_ns = rtt_ns + MIN_RTO_NS
        self._few = [-rtt_ns] * FEW  # when the last ones left, in turns: most messages need no more than this
        self._turn = 0
        self._window: Window | None = None  # None: ten segments, and not what holds anything back
        self._acks: deque[int] = deque()  # of what is under way
        self._sent = 0
        self._last_ns = 0  # when the last segment leaves, or left
        self._room = 0  # in it

    def leaves_ns(self, now_ns: int, size_bytes: int) -> int:
        """When the last of this message leaves. Call in the order of sending."""
        if self._window is None:
            turn = self._turn
            if size_bytes <= MSS_BYTES and self._few[turn] + self._rtt_ns <= now_ns:
                self._few[turn] = now_ns
                self._turn = turn + 1 if turn + 1 < FEW else 0
                return now_ns
            self._begin(now_ns)
        return self._windowed(now_ns, size_bytes)

    def _begin(self, now_ns: int) -> None:
        window = self._window = Window()
        self._acks = deque(at for sent in sorted(self._few) if (at := sent + self._rtt_ns) > now_ns)
        self._sent = len(self._acks)
        self._last_ns, self._room = max(self._few), 0
        window.used(self._last_ns, len(self._acks), False, 0, self._sent, self._rto_ns)

    def _windowed(self, now_ns: int, size_bytes: int) -> int:
        assert self._window is not None
        self._arrive(now_ns)
        if not self._acks and self._last_ns <= now_ns:
            self._window.idle(now_ns - self._last_ns, now_ns, self._rto_ns)
        if now_ns < self._last_ns and self._room:
            taken = min(size_bytes, self._room)
            self._room -= taken
            size_bytes -= taken
        while size_bytes > 0:
            self._send(max(now_ns, self._last_ns))
            taken = min(size_bytes, MSS_BYTES)
            self._room = MSS_BYTES - taken
            size_bytes -= taken
        if self._last_ns > now_ns:
            return self._last_ns
        if self._window.segments == INITIAL_WINDOW and len(self._acks) <= FEW:
            self._calm()
        return now_ns

    def _send(self, at_ns: int) -> None:
        """The next segment, as soon as the window allows."""
        assert self._window is not None
        self._arrive(at_ns - 1)
        while len(self._acks) >= self._window.segments:
            # of several at one moment each lets go what it lets go before the next counts
            at_ns = max(at_ns, self._acks[0])
            self._window.arrived(self._acks.popleft(), 1, self._rtt_ns)
        self._acks.append(at_ns + self._rtt_ns)
        self._sent += 1
        self._last_ns = at_ns
        out = len(self._acks)
        limited = out >= self._window.segments
        self._window.used(at_ns, out, limited, self._sent - out, self._sent, self._rto_ns)

    def _arrive(self, now_ns: int) -> None:
        assert self._window is not None
        while self._acks and self._acks[0] <= now_ns:
            self._window.arrived(self._acks.popleft(), 1, self._rtt_ns)

    def _calm(self) -> None:
        """Back to counting."""
        self._few = [-self._rtt_ns] * (FEW - len(self._acks)) + [at - self._rtt_ns for at in self._acks]
        self._turn = 0
        self._window = None
