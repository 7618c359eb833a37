"""One emulated run between inputs and results: everything comes up, every phase runs, everything goes down.

The order is the guarantee: links are measured before any result is recorded, and again after.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from testbed.clock.run import RunClock
from testbed.containers.nodes import ContainerNodes
from testbed.containers.removal import remove_named
from testbed.emulation import stages
from testbed.emulation.answers import Answers
from testbed.emulation.conditions import Conditions
from testbed.emulation.deployment import Deployment
from testbed.emulation.inputs import Inputs, Options
from testbed.emulation.nodekind import containers
from testbed.emulation.phases import run_phase
from testbed.emulation.planning import FLAWLESS_AFTER, plan_run, refuse, said
from testbed.emulation.rowlogs import RowLog
from testbed.emulation.stages import Stages
from testbed.emulation.timeouts import patience, refuse_long_cuts
from testbed.emulation.usage import Turns, turns
from testbed.experiment.faults import node_stops
from testbed.experiment.progress import Progress
from testbed.network.measure.capture import Capture, parse_pair
from testbed.network.network import Network
from testbed.network.spec.fabric import Counters, Pair
from testbed.results import heldclock
from testbed.results.reasons import some
from testbed.results.records import LinkRow, ReplayRow
from testbed.results.validity import AFTER, REPEATED
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal
from testbed.wire.tcpinfo import TcpState, least_timeout_ms

# Over each directed link; the check before is the network's. Of 200 probes the 99th percentile lets two be late, so one
# stray packet moves nothing. Where none of the first FLAWLESS_AFTER is late or lost the others are not sent: of pairs
# that are late once in fifty times 7.7 % pass then, instead of 5.5 %.
PROBES_AFTER = 200


@dataclass
class Measured:
    """What the run itself brought."""

    logs: list[RowLog] = field(default_factory=list)
    planned: list[tuple[int, int]] = field(default_factory=list)  # of each phase, its repeat and its first request
    links: list[LinkRow] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    stale_messages: int = 0
    given_up: dict[str, list[int]] = field(default_factory=dict)  # requests without an answer, as an event cut them off
    replay: list[ReplayRow] = field(default_factory=list)
    probes: list[RowLog] = field(default_factory=list)
    lookups: dict[str, tuple[int, int]] = field(default_factory=dict)  # by policy: about trees, approximated of them
    tcp: list[dict[str, Any]] = field(default_factory=list)  # of each phase
    facts: dict[str, Any] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)
    since: Turns | None = field(default_factory=turns)  # what the engine's thread had run before
    plan: Mapping[str, Any] | None = None  # what was expected before the first request; None: not asked for

    def tree_lookups(self) -> dict[str, dict[str, int]]:
        """Of recorded answers, as a simulation's manifest has them."""
        return {policy: {"of": of, "approximated": n} for policy, (of, n) in self.lookups.items()}

    def add_lookups(self, policy: str, more: tuple[int, int]) -> None:
        of, approximated = self.lookups.get(policy, (0, 0))
        if more[0]:
            self.lookups[policy] = of + more[0], approximated + more[1]


def measure(
    inputs: Inputs,
    options: Options,
    partial: Path,
    journal: Journal,
    progress: Progress,
    measured: Measured,
    plan_only: bool = False,
) -> None:
    """Brings everything up, runs every phase, takes everything down; `measured` is filled as it comes.

    Where the plan asks for another dilation than everything came up with, it comes up once more. `plan_only`: ends
    before the first phase.
    """
    (partial / "logs").mkdir()
    another = _measure(inputs, options, partial, journal, progress, measured, plan_only)
    if another is not None and not plan_only:
        progress.note(f"bringing everything up again, at dilation {another:g}")
        inputs = replace(inputs, experiment=replace(inputs.experiment, dilation=another))
        refuse_long_cuts(inputs.experiment)
        measured.links.clear()
        _measure(inputs, options, partial, journal, progress, measured)


def _measure(
    inputs: Inputs,
    options: Options,
    partial: Path,
    journal: Journal,
    progress: Progress,
    measured: Measured,
    plan_only: bool = False,
) -> float | None:
    """Returns the dilation that the plan asks for, where it is another; nothing has run then."""
    log_dir = partial / "logs"
    dilation = inputs.experiment.dilation
    measured.stages.begin(stages.NETWORK)
    progress.note("bringing up and measuring the network")
    try:
        with (
            RunClock(journal, dilation, contained=inputs.nodes.name == "docker") as clock,
            containers(
                inputs.nodes, inputs.scenario, inputs.fitness.packs.values(), journal.attempt, journal, clock.path
            ) as contained,
            Network(
                inputs.experiment.topology,
                inputs.experiment.placement,
                options.fabric,
                inputs.run_id,
                journal,
                pids={} if contained is None else contained.pids,
                used=inputs.used_pairs,
                live=bool(inputs.experiment.schedule.pairs),
                watch=contained.check if contained is not None else lambda: None,
                clock=str(clock.path),
                dilation=dilation,
            ) as network,
        ):
            network.require(inputs.experiment.schedule.lowest())
            progress.note(f"fabric {network.fabric_name}: {network.fabric_reason}")
            if dilation != 1:
                progress.note(f"dilation {dilation:g}: a second of the run takes {dilation:g} s")
            for reason in some(network.invalid_reasons()):
                progress.note(f"not valid: {reason}")
            measured.links += _link_rows("before", network)
            watched = sorted(pair for pair in inputs.used_pairs if pair[0] < pair[1]) if options.probe else []
            conditions = Conditions(
                network, inputs.experiment.schedule, inputs.scenario.events, watched, log_dir, journal, progress, clock
            )
            measured.stages.begin(stages.NODES)
            progress.note(f"starting {len(inputs.experiment.placement)} nodes, loading models")
            captured = [parse_pair(text, inputs.experiment.placement) for text in options.pcap]
            with (
                Capture(network.ports, captured, partial, journal, dilation) as capture,
                Deployment(
                    inputs.scenario,
                    network,
                    log_dir,
                    contained,
                    inputs.fitness,
                    Answers(inputs),
                    clock,
                    inputs.experiment.background,
                ) as deployment,
            ):
                if options.plan and measured.plan is None:
                    measured.stages.begin(stages.PLAN)
                    another = _plan(
                        inputs, options, deployment, conditions, clock, network, contained, measured, progress
                    )
                    if another is not None or plan_only:
                        measured.stages.begin(stages.NODES)
                        return another
                measured.stages.begin(stages.REQUESTS)
                _run_phases(inputs, deployment, conditions, measured, progress)
                measured.stages.begin(stages.NODES)
                measured.facts |= deployment.facts() | {"clock": conditions.clock_facts()}
                capture.clock = heldclock.held(heldclock.of_phases(measured.facts["clock"]))
                measured.facts["tcp"] = {"least_timeout_ms": least_timeout_ms(dilation), "phases": measured.tcp}
            if contained is not None:
                contained.note_exits()
                measured.facts["containers"] = contained.facts()
            if captured:
                measured.facts["captures"] = capture.facts
            measured.replay, measured.probes = conditions.replayed, conditions.probes
            measured.facts["strange_probe_packets"] = conditions.strange_packets
            measured.facts["phases"] = [one._asdict() for one in conditions.phases]
            conditions.restore()
            measured.stages.begin(stages.LINKS)
            progress.note("measuring the links again")
            network.probe(PROBES_AFTER, enough=FLAWLESS_AFTER, again=True)
            measured.links += _link_rows(AFTER, network)
            if network.invalid_reasons():
                progress.note("measuring again, to separate link errors from machine noise")
                network.probe(PROBES_AFTER, sparse=True, again=True)
                measured.links += _link_rows(REPEATED, network)
            measured.counters = network.counters()
            measured.facts |= {
                "fabric": network.fabric_name,
                "fabric_reason": network.fabric_reason,
                "network": network.facts(),
            }
            measured.stages.begin(stages.NETWORK)
    finally:
        with taking_down():
            journal.undo(remove_named)
    return None


def _plan(
    inputs: Inputs,
    options: Options,
    deployment: Deployment,
    conditions: Conditions,
    clock: RunClock,
    network: Network,
    contained: ContainerNodes | None,
    measured: Measured,
    progress: Progress,
) -> float | None:
    """A pilot, thrown away; returns the dilation it asks for, where it is another."""
    progress.note("a pilot of every policy")
    wanted = inputs.scenario.time.given
    so_far = measured.stages.seconds()
    planned = plan_run(inputs, deployment, clock, network, contained, so_far, wanted, options.probe, measured.since)
    measured.plan = planned.facts
    for line in said(planned.facts):
        progress.note(line)
    refuse(planned)
    conditions.sleep(inputs.experiment.drain_s)  # what is still in flight belongs to no phase
    clock.forget_longest()
    return planned.plan.dilation if planned.again else None


def _run_phases(
    inputs: Inputs,
    deployment: Deployment,
    conditions: Conditions,
    measured: Measured,
    progress: Progress,
) -> None:
    scenario = inputs.scenario
    stopped = {stop.node for stop in node_stops(scenario.events)}
    steady = {pair for pair in inputs.experiment.schedule.steady() if stopped.isdisjoint(pair)}
    drain_s = inputs.experiment.drain_s
    for repeat in range(scenario.repeats):
        for entry in scenario.policies:
            first = len(measured.planned) * scenario.workload.requests + 1
            requests = inputs.plan(first, repeat)
            measured.planned.append((repeat, first))
            patient = patience(inputs.experiment, requests)
            phase = run_phase(deployment, conditions, entry, repeat, requests, drain_s, patient, progress)
            measured.logs += phase.logs
            measured.tcp.append(tcp_of_phase(entry.label, repeat, phase.connections, steady))
            measured.stale_messages += phase.stale_messages
            measured.add_lookups(entry.label, phase.lookups)
            if phase.given_up:
                measured.given_up.setdefault(entry.label, []).extend(phase.given_up)


def tcp_of_phase(
    policy: str, repeat: int, connections: Mapping[Pair, TcpState], steady: Collection[Pair]
) -> dict[str, Any]:
    """For the manifest: the shortest timeout, in wall time, and which connections sent anything again.

    `judged`: over links of this pair nothing is lost or late on purpose, so TCP has nothing to repair.
    """
    return {
        "policy": policy,
        "repeat": repeat,
        "connections": len(connections),
        "shortest_timeout_ms": min((one.timeout_ms for one in connections.values()), default=None),
        "sent_again": [
            {
                "src": src,
                "dst": dst,
                "segments": one.sent_again,
                "duplicates": one.duplicates,
                "judged": (src, dst) in steady,
            }
            for (src, dst), one in connections.items()
            if one.sent_again
        ],
    }


def _link_rows(phase: str, network: Network) -> list[LinkRow]:
    one_way = {(link.src, link.dst): link.one_way_ms for link in network.links}
    undefined = float("nan")  # nothing came back; `received` says so
    return [
        LinkRow(
            phase=phase,
            src=sample.src,
            dst=sample.dst,
            specified_ms=sample.specified_ms,
            median_ms=undefined if sample.median_ms is None else sample.median_ms,
            p99_ms=undefined if sample.p99_ms is None else sample.p99_ms,
            one_way_specified_ms=one_way[sample.src, sample.dst],
            one_way_median_ms=undefined if sample.one_way_median_ms is None else sample.one_way_median_ms,
            sent=sample.sent,
            received=sample.received,
        )
        for sample in network.samples
    ]
