"""How an experiment's links change during a trial: RTT trace and events, per directed pair of sites, for both engines.

Rule kept: emulation and simulation get the same schedule from the same file, or the same refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import permutations

from testbed.errors import BadInput
from testbed.experiment.faults import pair_events
from testbed.experiment.scenario import Scenario
from testbed.network.measure.roundtrips import burst_share
from testbed.network.spec.fabric import Pair
from testbed.network.spec.schedule import PairSchedule
from testbed.network.spec.series import RttSeries, SeriesReplay, load_series
from testbed.network.spec.topology import Topology

# What the testbed itself sends over a link in each direction: four pings and four answers a second, their
# acknowledgements, and the in-run probe; 13 kbit/s. Below this rate that would be more than a fifth of the link.
LEAST_EMULATED_BPS = 64_000
# Of packets in one direction, from the start. Above it a connection is not made in time: three of four handshakes fail.
MOST_EMULATED_LOSS = 0.5


def replay_of(
    scenario: Scenario, topology: Topology, load: Callable[[str], RttSeries] = load_series
) -> SeriesReplay | None:
    """The experiment's RTT series on its links; it must hold every pair of sites that talk."""
    network = scenario.network
    if network.rtt_series is None:
        return None
    replay = network.replay_on(load(network.rtt_series))
    sites: dict[str, list[str]] = {"target": [], "peer": []}
    for role, site in scenario.place.nodes().values():
        sites["target" if role == "target" else "peer"].append(site)
    talking = {(target, peer): None for target in sites["target"] for peer in sites["peer"] if peer != target}
    replay.require(topology, talking)  # connections form a star around the target
    return replay


def pair_schedules(scenario: Scenario, topology: Topology, replay: SeriesReplay | None) -> Mapping[Pair, PairSchedule]:
    """Every directed pair of sites whose links change during a phase. Raises BadInput."""
    sites = list(dict.fromkeys(site for _, site in scenario.place.nodes().values()))
    events = pair_events(scenario.events, topology, sites)
    schedules = {}
    for a in sites:
        for b in sites:
            delay = None if replay is None or a == b else replay.delay(topology, a, b)
            of_pair = tuple(events.get((a, b), ()))
            if delay is not None and any(event.one_way_ms is not None for event in of_pair):
                raise BadInput(f"events: rtt_ms of {a} -> {b}, which network.rtt_series also sets; remove one of them")
            if delay is not None or of_pair:
                schedules[a, b] = PairSchedule(delay, of_pair)
    return schedules


def refuse_unmeasurable(topology: Topology, schedules: Mapping[Pair, PairSchedule], sites: Collection[str]) -> None:
    """BadInput for links over which no emulated run could be valid, whatever the machine does."""
    for a, b in permutations(sorted(sites), 2):
        events = schedules[a, b].events if (a, b) in schedules else ()
        rates = [topology.rate_bps.get(a, {}).get(b), *(event.rate_bps for event in events)]
        slowest = min((rate for rate in rates if rate is not None), default=None)
        if slowest is not None and slowest < LEAST_EMULATED_BPS:
            raise BadInput(
                f"topology {topology.name}: {a} -> {b} has a rate of {slowest / 1e3:g} kbit/s, too little for the "
                f"testbed's own pings and probes; emulation needs {LEAST_EMULATED_BPS / 1e3:g} kbit/s or more "
                "(rate_mbit: "
                f"{LEAST_EMULATED_BPS / 1e6:g}), or use --engine simulation"
            )
        loss, bursts = topology.loss.get(a, {}).get(b, 0.0), topology.burst_loss.get(a, {}).get(b)
        if bursts is not None:
            loss, _ = burst_share(bursts.p, bursts.r, bursts.loss_bad, bursts.loss_good)
        if loss > MOST_EMULATED_LOSS:
            raise BadInput(
                f"topology {topology.name}: {a} -> {b} loses {loss:.0%} of its packets from the start, so nodes "
                f"could not connect in time; emulation allows {MOST_EMULATED_LOSS:.0%} or less; set more with an "
                "event, or use --engine simulation"
            )
