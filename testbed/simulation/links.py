"""Links in virtual time as an experiment specifies them: what one direction does to packets, and when.

How packets fare is `tcp.path`, how the messages of a connection do over it `tcp.stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from testbed.errors import BadInput
from testbed.network.netem.plan import rate_buffer_bytes
from testbed.network.spec.effects import Effects
from testbed.network.spec.fabric import BurstLoss, Link, delay_us
from testbed.network.spec.schedule import PairEvent, PairSchedule
from testbed.network.spec.topology import Topology
from testbed.system.units import NS_PER_US

DelaySeries = Callable[[int], int]  # virtual time to one-way delay, both in nanoseconds


@dataclass(frozen=True)
class LinkSpec(Effects):
    """One direction. `series` takes the place of `one_way_ms` where the delay changes over the run."""

    one_way_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0  # share of packets
    rate_bps: int | None = None  # None: not limited
    series: DelaySeries | None = None
    burst_loss: BurstLoss | None = None
    reorder: float = 0.0  # share of packets
    up: bool = True
    events: tuple[PairEvent, ...] = ()  # by time: what changes besides the series
    buffer_bytes: int | None = None  # of the rate; None: as the emulation has it

    @classmethod
    def of(cls, link: Link, schedule: PairSchedule, topology: str) -> LinkSpec:
        """What a simulation makes of a link. Raises BadInput, in the topology's name, for one that it cannot show."""
        if link.loss >= 1 or (link.burst_loss is not None and link.burst_loss.ends_all):
            raise BadInput(f"topology {topology}: loss {link.src} -> {link.dst} is 1, so nothing would arrive")
        return cls(
            link.one_way_ms, link.jitter_ms, link.loss, link.rate_bps, schedule.delay, link.burst_loss, link.reorder,
            up=link.up, events=schedule.events, buffer_bytes=link.buffer_bytes,
        )  # fmt: skip

    @property
    def varies(self) -> bool:
        """Two packets may see different delays on an idle link."""
        return self.by_chance or self.series is not None or bool(self.events)

    @property
    def constant(self) -> bool:
        """A packet is never lost, and takes what every other takes."""
        return self.up and not self.varies and self.rate_bps is None

    @property
    def most_waiting_bytes(self) -> int:
        """For the rate, the packet being sent included."""
        return rate_buffer_bytes(Link("", "", 0.0, rate_bps=self.rate_bps, buffer_bytes=self.buffer_bytes))

    def delay_ns(self, now_ns: int) -> int:
        """Whole microseconds where constant: the delay that the emulated plan asks its kernel for."""
        return self.series(now_ns) if self.series is not None else delay_us(self.one_way_ms) * NS_PER_US

    def over_time(self) -> list[tuple[int, LinkSpec]]:
        """From when on the link is what: this first, then as each event leaves it."""
        states = [(0, self)]
        for event in self.events:
            states.append((event.at_ns, replace(states[-1][1], **event.changes())))
        return states


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
