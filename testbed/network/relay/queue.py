"""The relay's delay line: packets go in with their directed link and come out when their delay has passed.

Pure: no clock, no sockets, no global randomness; time arrives as an argument, in nanoseconds of one monotonic clock.

Rules it keeps, per directed pair of nodes:
* a packet's departure time is fixed when it enters, so a later change of the link never moves it (as netem does);
* strictly first in, first out, unless the link has jitter or reordering: when the delay falls, later packets wait for
  the older ones instead of overtaking them (as netem does once it has a `rate`); packets leave in the order of
  departure time, ties in the order of arrival;
* the stages are the rate with its buffer, then chance (`impair`), then the delay, as in the qdisc plan; a cut
  link drops in front of all of them, and what is inside when it is cut still arrives;
* what exceeds the buffer of the rate stage, or the number of packets the link may hold, is `dropped`; what chance
  takes is `lost`, what a cut takes is `cut`: each packet is delivered, inside, or counted as one of the three.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from testbed.network.relay.impair import NONE, Chances, Fates
from testbed.system.units import NS_PER_S

BIT_NS_PER_BYTE = 8 * NS_PER_S


class LinkState(NamedTuple):
    """What one directed link does to its packets; the default is a link without any effect."""

    delay_ns: int = 0
    limit_packets: int = 100_000
    rate_bps: int | None = None
    buffer_bytes: int = 0  # what may wait for the rate, the packet being sent included; unused without a rate
    chances: Chances = NONE
    up: bool = True

    def serialisation_ns(self, size_bytes: int) -> int:
        """Time the packet occupies the link, rounded up, so that the rate is never exceeded."""
        if self.rate_bps is None:
            return 0
        return -(-size_bytes * BIT_NS_PER_BYTE // self.rate_bps)


class Pair:
    """One directed link: its state, and what survives a change of it. Its counters are read-only to others."""

    __slots__ = ("cut", "delivered", "dropped", "fates", "free_ns", "last_due_ns", "lost", "seed", "state", "waiting")

    def __init__(self, seed: str) -> None:
        self.state = LinkState()
        self.seed = seed
        self.fates: Fates | None = None  # made when first needed: a generator takes 2.5 kB and 10 us
        self.free_ns = 0  # when the serialiser has sent everything accepted so far
        self.last_due_ns = 0
        self.waiting = 0
        self.delivered = 0
        self.dropped = 0
        self.lost = 0
        self.cut = 0


Departure = tuple[int, int, int, Pair, bytes]
"""Due time in ns, serial number (keeps the order of equal times), destination, pair, packet."""


class DelayLine:
    """Three verbs: `push` a packet, take what is `due`, ask for the `next_due_ns`."""

    def __init__(self, nodes: int, seed: str, overhead_bytes: int = 0) -> None:
        """Nodes are numbered from 0. Every directed link has its own generator for its chances, made from `seed`.

        `overhead_bytes` is what the rate stage adds to each packet: the link-layer header that a packet here lacks.
        """
        self._overhead_bytes = overhead_bytes
        self._pairs = [[Pair(f"{seed}/{src}>{dst}") for dst in range(nodes)] for src in range(nodes)]
        self._heap: list[Departure] = []
        self._serial = 0

    def pair(self, src: int, dst: int) -> Pair:
        return self._pairs[src][dst]

    def set_link(self, src: int, dst: int, state: LinkState) -> None:
        """Replaces the whole state of one pair; packets inside keep their departure time."""
        self._pairs[src][dst].state = state

    def push(self, now_ns: int, src: int, dst: int, packet: bytes) -> None:
        """Accepts a packet that arrived now; it may be dropped, as the rules say."""
        pair = self._pairs[src][dst]
        state = pair.state
        if not state.up:
            pair.cut += 1
            return
        chances = state.chances
        delay_ns: int | None = state.delay_ns
        if chances is not NONE:
            # drawn for every packet that meets the link, so that a full buffer moves nobody else's fate
            pair.fates = pair.fates or Fates(pair.seed)
            delay_ns = pair.fates.next_delay_ns(chances, state.delay_ns)
        due_ns = now_ns
        if state.rate_bps is not None:
            size_bytes = len(packet) + self._overhead_bytes
            idle_ns = max(now_ns, pair.free_ns)
            if (idle_ns - now_ns) * state.rate_bps // BIT_NS_PER_BYTE + size_bytes > state.buffer_bytes:
                pair.dropped += 1
                return
            due_ns = pair.free_ns = idle_ns + state.serialisation_ns(size_bytes)
        if delay_ns is None:
            pair.lost += 1
            return
        if pair.waiting >= state.limit_packets:
            pair.dropped += 1
            return
        due_ns += delay_ns
        if due_ns >= pair.last_due_ns:
            pair.last_due_ns = due_ns
        elif chances is NONE or chances.keep_order:
            due_ns = pair.last_due_ns
        pair.waiting += 1
        self._serial += 1
        heapq.heappush(self._heap, (due_ns, self._serial, dst, pair, packet))

    def due(self, now_ns: int) -> list[Departure]:
        """Removes and returns every packet whose time has come, oldest departure time first."""
        heap = self._heap
        departures: list[Departure] = []
        while heap and heap[0][0] <= now_ns:
            departure = heapq.heappop(heap)
            pair = departure[3]
            pair.waiting -= 1
            pair.delivered += 1
            departures.append(departure)
        return departures

    def next_due_ns(self) -> int | None:
        """Departure time of the next packet, or None when the line is empty."""
        return self._heap[0][0] if self._heap else None
