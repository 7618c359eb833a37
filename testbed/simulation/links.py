"""Links in virtual time: when a message sent now arrives, in the order of sending, always.

One `Link` is one direction between two nodes, as a TCP connection over that path shows it to the program above:

* bandwidth is serialisation: a message leaves when those before it have left and its own bits are out;
* then comes the one-way delay at the moment of leaving, a constant or a series over time;
* jitter is added to it, uniform in [-jitter, +jitter] (netem's default law), never below a delay of 0;
* loss is a delay, since TCP repairs it: a lost message is sent again after a retransmission timeout,
  RTO = RTT + 200 ms (Linux: RTO = SRTT + max(4 RTTVAR, 200 ms); TCP_RTO_MIN in include/net/tcp.h), doubled with each
  further loss. Messages here are one small packet and mostly the last in flight, where neither fast retransmit nor
  selective acknowledgement can act (tail loss); for a dense stream this is the pessimistic end. Linux' tail loss probe
  may repair sooner and is not modelled;
* what is ready before an earlier message has arrived waits for it: TCP delivers in order.

Jitter and loss are drawn from a generator of the link's own, so that traffic on one link moves nothing on another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from testbed.errors import BadInput
from testbed.network.plan import delay_us
from testbed.network.series import SeriesReplay
from testbed.network.topology import Topology

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
RTO_FLOOR_NS = 200 * NS_PER_MS
MAX_RTO_NS = 120 * NS_PER_S  # TCP_RTO_MAX, include/net/tcp.h

DelaySeries = Callable[[int], int]  # virtual time to one-way delay, both in nanoseconds


@dataclass(frozen=True)
class LinkSpec:
    """One direction. `series` takes the place of `one_way_ms` where the delay changes over the run."""

    one_way_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0  # share of messages
    rate_bps: int | None = None  # None: not limited
    series: DelaySeries | None = None

    @property
    def varies(self) -> bool:
        """Two messages may see different delays on an idle link."""
        return self.series is not None or self.jitter_ms > 0 or self.loss > 0

    def delay_ns(self, now_ns: int) -> int:
        """Whole microseconds where constant: the delay that the emulated plan asks its kernel for."""
        return self.series(now_ns) if self.series is not None else delay_us(self.one_way_ms) * NS_PER_US


class Link:
    """`rtt_ns` is the round trip a retransmission timeout is made of; `seed` names the link's generator."""

    def __init__(self, spec: LinkSpec, rtt_ns: int, seed: str) -> None:
        self.spec = spec
        self._constant_ns = None if spec.varies or spec.rate_bps is not None else spec.delay_ns(0)
        self._rto_ns = rtt_ns + RTO_FLOOR_NS
        self._random = random.Random(seed)
        self._free_ns = 0  # when the last bit of what was sent so far has left
        self._last_ns = 0  # when the last message so far arrives

    def arrival_ns(self, now_ns: int, size_bytes: int) -> int:
        """Sends a message now; returns when it is delivered. Call in the order of sending."""
        if self._constant_ns is not None:
            return now_ns + self._constant_ns
        spec = self.spec
        leaves_ns = now_ns
        if spec.rate_bps is not None:
            # rounded up, so that the rate is never exceeded
            leaves_ns = max(now_ns, self._free_ns) + -(-size_bytes * 8 * NS_PER_S // spec.rate_bps)
            self._free_ns = leaves_ns
        at_ns = leaves_ns + self._repair_ns()
        delay_ns = spec.delay_ns(at_ns)
        if spec.jitter_ms > 0:
            jitter_ns = spec.jitter_ms * NS_PER_MS
            delay_ns = max(0, delay_ns + round(self._random.uniform(-jitter_ns, jitter_ns)))
        self._last_ns = max(self._last_ns, at_ns + delay_ns)
        return self._last_ns

    def _repair_ns(self) -> int:
        """How much later the transmission that gets through starts."""
        waited_ns, rto_ns = 0, self._rto_ns
        while self.spec.loss > 0 and self._random.random() < self.spec.loss:
            waited_ns += rto_ns
            rto_ns = min(2 * rto_ns, MAX_RTO_NS)
        return waited_ns


def link_specs(
    topology: Topology, placement: Mapping[str, str], replay: SeriesReplay | None = None
) -> dict[tuple[str, str], LinkSpec]:
    """Every ordered pair of nodes (name to site), as the topology says; its delay over time where `replay` has it."""
    specs = {}
    by_site: dict[tuple[str, str], DelaySeries | None] = {}
    for a, src in placement.items():
        for b, dst in placement.items():
            if a != b:
                loss = topology.loss.get(src, {}).get(dst, 0.0)
                if loss >= 1:
                    raise BadInput(f"topology {topology.name}: loss {src} -> {dst} is 1, so nothing would ever arrive")
                jitter_ms = topology.jitter_ms.get(src, {}).get(dst, 0.0)
                rate_bps = topology.rate_bps.get(src, {}).get(dst)
                if (src, dst) not in by_site:
                    by_site[src, dst] = None if replay is None else replay.delay(topology, src, dst)
                specs[a, b] = LinkSpec(topology.one_way_ms(src, dst), jitter_ms, loss, rate_bps, by_site[src, dst])
    return specs


def make_links(specs: Mapping[tuple[str, str], LinkSpec], seed: object) -> dict[tuple[str, str], Link]:
    """The links of one world; equal seeds give equal jitter and losses."""
    return {
        (a, b): Link(spec, spec.delay_ns(0) + specs[b, a].delay_ns(0), f"{seed}/{a}/{b}")
        for (a, b), spec in specs.items()
    }
