"""What an experiment's links do over a phase: its series and its events, per ordered pair of sites, for both engines.

Rule kept: emulation and simulation get the same schedule from the same file, or the same refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testbed.errors import BadInput
from testbed.events import pair_events
from testbed.network.schedule import Pair, PairSchedule
from testbed.network.series import RttSeries, SeriesReplay, load_series
from testbed.network.topology import Topology
from testbed.scenario import Scenario


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
    """Every ordered pair of sites whose links change during a phase. Raises BadInput."""
    sites = list(dict.fromkeys(site for _, site in scenario.place.nodes().values()))
    events = pair_events(scenario.events, topology, sites)
    schedules = {}
    for a in sites:
        for b in sites:
            delay = None if replay is None or a == b else replay.delay(topology, a, b)
            of_pair = tuple(events.get((a, b), ()))
            if delay is not None and any(event.one_way_ms is not None for event in of_pair):
                raise BadInput(f"events: rtt_ms of {a} -> {b}, which network.rtt_series sets too; leave one out")
            if delay is not None or of_pair:
                schedules[a, b] = PairSchedule(delay, of_pair)
    return schedules
