"""The relay's delay line: packets go in with their ordered pair and come out when their delay has passed.

Pure: no clock, no sockets, no global randomness; time arrives as an argument, in nanoseconds of one monotonic clock.

Rules it keeps, per ordered pair of nodes:
* a packet's departure time is fixed when it enters, so a later change of the delay never moves it (as netem does);
* strictly first in, first out: when the delay falls, later packets wait for the older ones instead of overtaking them
  (as netem does once it has a `rate`); packets leave in the order of departure time, ties in the order of arrival;
* the stages are the rate with its buffer, then loss, then the delay, as in the qdisc plan;
* what exceeds the buffer of the rate stage, or the number of packets the link may hold, is dropped and counted.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

NS_PER_S = 1_000_000_000

Departure = tuple[int, int, int, int, bytes]
"""Due time in ns, serial number (keeps the order of equal times), source, destination, packet."""


@dataclass(frozen=True)
class LinkState:
    """What one ordered pair does to its packets; the default is a link without any effect."""

    delay_ns: int = 0
    loss: float = 0.0
    rate_bps: int | None = None
    buffer_bytes: int = 0  # what may wait for the rate, the packet being sent included; unused without a rate
    limit_packets: int = 100_000

    def serialisation_ns(self, size_bytes: int) -> int:
        """Time the packet occupies the link, rounded up, so that the rate is never exceeded."""
        if self.rate_bps is None:
            return 0
        return -(-size_bytes * 8 * NS_PER_S // self.rate_bps)


class _Pair:
    """The running state of one ordered pair; survives a change of its LinkState."""

    __slots__ = ("delivered", "dropped", "free_ns", "last_due_ns", "random", "state", "waiting")

    def __init__(self, seed: str) -> None:
        self.state = LinkState()
        self.random = random.Random(seed)
        self.free_ns = 0  # when the serialiser has sent everything accepted so far
        self.last_due_ns = 0
        self.waiting = 0
        self.delivered = 0
        self.dropped = 0


class DelayLine:
    """Three verbs: `push` a packet, take what is `due`, ask for the `next_due_ns`."""

    def __init__(self, nodes: int, seed: str, overhead_bytes: int = 0) -> None:
        """Nodes are numbered from 0. Every ordered pair draws its losses from a generator of its own, made from `seed`.

        `overhead_bytes` is what the rate stage adds to each packet: the link-layer header that a packet here lacks.
        """
        self._overhead_bytes = overhead_bytes
        self._pairs = [[_Pair(f"{seed}/{src}>{dst}") for dst in range(nodes)] for src in range(nodes)]
        self._heap: list[Departure] = []
        self._serial = 0

    def set_link(self, src: int, dst: int, state: LinkState) -> None:
        """Replaces the whole state of one pair; packets inside keep their departure time."""
        self._pairs[src][dst].state = state

    def link(self, src: int, dst: int) -> LinkState:
        return self._pairs[src][dst].state

    def push(self, now_ns: int, src: int, dst: int, packet: bytes) -> None:
        """Accepts a packet that arrived now; it may be dropped by the link's loss or limit."""
        pair = self._pairs[src][dst]
        state = pair.state
        sent_ns = now_ns
        if state.rate_bps is not None:
            size_bytes = len(packet) + self._overhead_bytes
            idle_ns = max(now_ns, pair.free_ns)
            if (idle_ns - now_ns) * state.rate_bps // (8 * NS_PER_S) + size_bytes > state.buffer_bytes:
                pair.dropped += 1
                return
            sent_ns = pair.free_ns = idle_ns + state.serialisation_ns(size_bytes)
        lost = state.loss > 0.0 and pair.random.random() < state.loss
        if lost or pair.waiting >= state.limit_packets:
            pair.dropped += 1
            return
        due_ns = max(sent_ns + state.delay_ns, pair.last_due_ns)
        pair.last_due_ns = due_ns
        pair.waiting += 1
        self._serial += 1
        heapq.heappush(self._heap, (due_ns, self._serial, src, dst, packet))

    def due(self, now_ns: int) -> list[Departure]:
        """Removes and returns every packet whose time has come, oldest departure time first."""
        heap = self._heap
        departures: list[Departure] = []
        while heap and heap[0][0] <= now_ns:
            departure = heapq.heappop(heap)
            pair = self._pairs[departure[2]][departure[3]]
            pair.waiting -= 1
            pair.delivered += 1
            departures.append(departure)
        return departures

    def next_due_ns(self) -> int | None:
        """Departure time of the next packet, or None when the line is empty."""
        return self._heap[0][0] if self._heap else None

    def delivered(self, src: int, dst: int) -> int:
        return self._pairs[src][dst].delivered

    def dropped(self, src: int, dst: int) -> int:
        return self._pairs[src][dst].dropped
