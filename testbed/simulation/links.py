"""Links in virtual time: when a message sent now arrives, in the order of sending, always.

One `SimulatedLink` is one direction between two nodes, as a TCP connection over that path shows it to a program:

* bandwidth is serialisation: a message leaves when those before it have left and its own bits are out;
* then comes the one-way delay at the moment of leaving, a constant or a series over time;
* jitter is added to it, uniform in [-jitter, +jitter] (netem's default law), never below a delay of 0;
* loss is a delay, since TCP repairs it: a lost message is sent again after a retransmission timeout,
  RTO = RTT + 200 ms (Linux: RTO = SRTT + max(4 RTTVAR, 200 ms); TCP_RTO_MIN in include/net/tcp.h), doubled with each
  further loss. Messages here are one small packet and mostly the last in flight, where neither fast retransmit nor
  selective acknowledgement can act (tail loss); for a dense stream this is the pessimistic end. Linux' tail loss probe
  may repair sooner and is not modelled; burst loss is the emulated links' own chain, one step a transmission;
* a reordered message is sent without the delay, as the emulated links do it; how TCP slows down on seeing packets out
  of order is not modelled;
* a cut link loses every transmission; until the first that gets through after it, TCP sends nothing else, so what was
  sent meanwhile arrives with it (the round trips in which TCP then finds its pace again are not modelled);
* what is ready before an earlier message has arrived waits for it: TCP delivers in order.

What is left to chance is drawn from generators of the link's own, so that traffic on one link moves nothing on another.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

from testbed.errors import BadInput
from testbed.network.relay.impair import NONE, Chances, Fates
from testbed.network.spec.effects import Effects
from testbed.network.spec.fabric import BurstLoss, Link, delay_us
from testbed.network.spec.schedule import PairEvent, PairSchedule
from testbed.network.spec.topology import Topology
from testbed.system.units import NS_PER_MS, NS_PER_S, NS_PER_US

RTO_FLOOR_NS = 200 * NS_PER_MS
MAX_RTO_NS = 120 * NS_PER_S  # TCP_RTO_MAX, include/net/tcp.h

DelaySeries = Callable[[int], int]  # virtual time to one-way delay, both in nanoseconds


@dataclass(frozen=True)
class LinkSpec(Effects):
    """One direction. `series` takes the place of `one_way_ms` where the delay changes over the run."""

    one_way_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0  # share of messages
    rate_bps: int | None = None  # None: not limited
    series: DelaySeries | None = None
    burst_loss: BurstLoss | None = None
    reorder: float = 0.0  # share of messages
    up: bool = True
    events: tuple[PairEvent, ...] = ()  # by time: what changes besides the series

    @classmethod
    def of(cls, link: Link, schedule: PairSchedule, topology: str) -> LinkSpec:
        """What a simulation makes of a link. Raises BadInput, in the topology's name, for one that it cannot show."""
        if link.loss >= 1 or (link.burst_loss is not None and link.burst_loss.ends_all):
            raise BadInput(f"topology {topology}: loss {link.src} -> {link.dst} is 1, so nothing would arrive")
        if link.buffer_bytes is not None:
            raise BadInput(
                f"topology {topology}: buffer_ms {link.src} -> {link.dst}: simulated links have unlimited buffers; "
                "remove it, or use --engine emulation"
            )
        return cls(
            link.one_way_ms, link.jitter_ms, link.loss, link.rate_bps, schedule.delay, link.burst_loss, link.reorder,
            up=link.up, events=schedule.events,
        )  # fmt: skip

    @property
    def varies(self) -> bool:
        """Two messages may see different delays on an idle link."""
        return self.by_chance or self.series is not None or bool(self.events)

    def delay_ns(self, now_ns: int) -> int:
        """Whole microseconds where constant: the delay that the emulated plan asks its kernel for."""
        return self.series(now_ns) if self.series is not None else delay_us(self.one_way_ms) * NS_PER_US

    def over_time(self) -> list[tuple[int, LinkSpec]]:
        """From when on the link is what: this first, then as each event leaves it."""
        states = [(0, self)]
        for event in self.events:
            states.append((event.at_ns, replace(states[-1][1], **event.changes())))
        return states


class SimulatedLink:
    """`rtt_ns` is the round trip a retransmission timeout is made of; `seed` names the link's generator."""

    def __init__(self, spec: LinkSpec, rtt_ns: int, seed: str) -> None:
        self.spec = spec
        # what every message takes, where they do not disturb each other
        self.constant_ns = None if spec.varies or spec.rate_bps is not None else spec.delay_ns(0)
        self._rto_ns = rtt_ns + RTO_FLOOR_NS
        self._random = random.Random(seed)
        self._over_time = spec.over_time()
        since_ns, last = self._over_time[-1]
        self._ends_cut_ns = inf if last.up else since_ns  # from then on nothing gets through
        self._fates = None if _chances(spec) == NONE else Fates(f"{seed}/fates")  # events add none of these
        self._held_ns = 0  # until when TCP tries to get something through a cut link
        self._free_ns = 0  # when the last bit of what was sent so far has left
        self._last_ns = 0  # when the last message so far arrives

    def arrival_ns(self, now_ns: int, size_bytes: int) -> int | None:
        """Sends a message now; returns when it is delivered, None for never. Call in the order of sending."""
        if self.constant_ns is not None:
            return now_ns + self.constant_ns
        spec = self._at(now_ns)
        leaves_ns = now_ns
        if spec.rate_bps is not None:
            # rounded up, so that the rate is never exceeded
            leaves_ns = max(now_ns, self._free_ns) + -(-size_bytes * 8 * NS_PER_S // spec.rate_bps)
            self._free_ns = leaves_ns
        through = self._gets_through(max(leaves_ns, self._held_ns))
        if through is None:
            return None
        at_ns, at_once = through
        spec = self._at(at_ns)
        delay_ns = 0 if at_once else spec.delay_ns(at_ns)
        if spec.jitter_ms > 0 and not at_once:
            jitter_ns = spec.jitter_ms * NS_PER_MS
            delay_ns = max(0, delay_ns + round(self._random.uniform(-jitter_ns, jitter_ns)))
        self._last_ns = max(self._last_ns, at_ns + delay_ns)
        return self._last_ns

    def _gets_through(self, at_ns: int) -> tuple[int, bool] | None:
        """When the transmission that gets through starts, and whether it is sent without the delay; None: none does."""
        rto_ns = self._rto_ns
        was_cut = False
        while (at_once := self._transmit(self._at(at_ns))) is None:
            if at_ns >= self._ends_cut_ns:
                return None
            was_cut = was_cut or not self._at(at_ns).up
            at_ns += rto_ns
            rto_ns = min(2 * rto_ns, MAX_RTO_NS)
        if was_cut:
            self._held_ns = at_ns
        return at_ns, at_once

    def _transmit(self, spec: LinkSpec) -> bool | None:
        """One transmission: None when it is lost, else whether it is sent without the delay."""
        if not spec.up or (spec.loss > 0 and self._random.random() < spec.loss):
            return None
        if self._fates is None:
            return False
        delay_ns = self._fates.next_delay_ns(_chances(spec), 1)
        return None if delay_ns is None else delay_ns == 0

    def _at(self, now_ns: int) -> LinkSpec:
        """The link as the events up to now have left it."""
        if not self.spec.events:
            return self.spec
        return self._over_time[bisect_right(self._over_time, now_ns, key=lambda one: one[0]) - 1][1]


def _chances(spec: LinkSpec) -> Chances:
    return Chances(burst_loss=spec.burst_loss, reorder=spec.reorder)


def link_specs(
    topology: Topology, placement: Mapping[str, str], schedules: Mapping[tuple[str, str], PairSchedule] | None = None
) -> dict[tuple[str, str], LinkSpec]:
    """Every directed pair of nodes (name to site), as the topology says, and over time as its sites' schedule does."""
    known: dict[tuple[str, str], LinkSpec] = {}  # by sites: thousands of nodes stand at few
    specs = {}
    for a, src in placement.items():
        for b, dst in placement.items():
            if a != b:
                if (src, dst) not in known:
                    schedule = (schedules or {}).get((src, dst), PairSchedule())
                    known[src, dst] = LinkSpec.of(topology.link(src, dst), schedule, topology.name)
                specs[a, b] = known[src, dst]
    return specs


def make_links(specs: Mapping[tuple[str, str], LinkSpec], seed: object) -> dict[tuple[str, str], SimulatedLink]:
    """The links of one world; equal seeds give equal jitter and losses."""
    return {
        (a, b): SimulatedLink(spec, spec.delay_ns(0) + specs[b, a].delay_ns(0), f"{seed}/{a}/{b}")
        for (a, b), spec in specs.items()
    }
