"""Runs an experiment for real: network up and verified, nodes started, policies in turn, all collected, all gone.

The order is the guarantee: links are measured before any result is recorded and again after, and the run directory
appears under its final name only when the run has finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

from testbed.emulation.conditions import Conditions
from testbed.emulation.deployment import Deployment
from testbed.emulation.lock import machine_lock
from testbed.emulation.nodekind import NodeKind, containers
from testbed.emulation.nodekind import choose as choose_nodes
from testbed.emulation.patience import patience
from testbed.emulation.phases import run_phase
from testbed.errors import BadInput, MachineCannot
from testbed.hardware import NodeChoice
from testbed.interrupt import shielded
from testbed.linkplan import pair_schedules, replay_of
from testbed.models.devices import load_profile
from testbed.models.load import check_same_tokenizer, load_tokenizer, model_hash
from testbed.models.outcomes import refuse_emulation
from testbed.network.capabilities import FabricChoice, resolve_fabric
from testbed.network.capture import Capture, parse_pair
from testbed.network.fabric import Counters
from testbed.network.journal import Journal
from testbed.network.network import Network, specified_links
from testbed.network.schedule import LinkSchedule
from testbed.network.series import SeriesReplay
from testbed.network.topology import Topology, load_topology
from testbed.nodes.control import PlannedRequest
from testbed.nodes.recorder import PhaseLog
from testbed.progress import Progress
from testbed.requests import check_enough_prompts, plan_requests
from testbed.results import manifest as provenance
from testbed.results.records import LinkRow, ProbeRow, ReplayRow
from testbed.results.rundir import Outcome, partial_directory, publish
from testbed.results.sampling import sampling_of
from testbed.results.store import RunDirectory, load
from testbed.results.summary import summarise
from testbed.results.validity import AFTER, REPEATED, Counts
from testbed.scenario import Scenario, run_id
from testbed.workload.prompts import PromptSet, load_prompts

PROBES_AFTER = 200  # a 99th percentile of its own that one stray packet cannot move; the check before is the network's
DRAIN_MARGIN_S = 0.1


@dataclass(frozen=True)
class Options:
    """What the command line adds to the scenario; none of it changes the outputs."""

    fabric: FabricChoice = "auto"
    out: Path = Path("runs")
    pcap: tuple[str, ...] = ()  # pairs of nodes to capture, `user0:target0`
    probe: bool = True  # watch the links in use while the run goes on
    nodes: NodeChoice = "auto"


@dataclass(frozen=True)
class _Inputs:
    """Everything a run reads, checked before anything is made."""

    scenario: Scenario
    topology: Topology
    placement: Mapping[str, str]  # node to site
    schedule: LinkSchedule  # of the links over each phase
    replay: SeriesReplay | None
    prompts: PromptSet
    encode: Callable[[str], list[int]]
    eos: int | None
    model_hashes: Mapping[str, str]
    nodes: NodeKind
    run_id: str


@dataclass
class _Measured:
    """What the run itself brought."""

    log: PhaseLog = field(default_factory=PhaseLog)
    planned: dict[int, PlannedRequest] = field(default_factory=dict)
    links: list[LinkRow] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    stale_messages: int = 0
    given_up: dict[str, list[int]] = field(default_factory=dict)  # requests without an answer, as an event cut them off
    replay: list[ReplayRow] = field(default_factory=list)
    probes: list[ProbeRow] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def run(scenario: Scenario, options: Options, progress: Progress) -> Outcome:
    """One emulated run. Raises BadInput, MachineCannot or RunInvalid; leaves nothing running whatever happens."""
    started = datetime.now(UTC)
    progress.note("reading inputs")
    inputs = _read(scenario, options)
    with machine_lock(), _journal(inputs.run_id) as journal:
        partial = partial_directory(options.out, scenario.name, inputs.run_id, journal.result)
        before = provenance.gather(provenance.MOMENTS)
        try:
            measured = _measure(inputs, options, partial, journal, progress)
        except (BadInput, MachineCannot):
            shutil.rmtree(partial)  # nothing was run, so there is nothing to look at
            raise
        after = provenance.gather(provenance.MOMENTS)
        progress.note("comparing every output with target-only decoding")
        directory = RunDirectory(partial)
        _write_rows(directory, inputs, measured)
        manifest = {**_manifest(inputs, started), **measured.facts, "before": before, "after": after}
        directory.write_manifest(manifest)
        counts = Counts(
            unmatched_packets=measured.counters.unmatched,
            requests_per_policy=scenario.workload.requests * scenario.repeats,
            dropped_packets=measured.counters.dropped,
            stale_messages=measured.stale_messages,
        )
        summary = summarise(load(partial), counts)
        directory.write_summary(summary)
        progress.note("drawing the report")
        from testbed.report import write_report  # matplotlib is slow to import; a run that fails early should not wait

        write_report(partial)
        return Outcome(publish(partial, options.out), summary, manifest)


def _read(scenario: Scenario, options: Options) -> _Inputs:
    refuse_emulation(scenario.outcomes)
    scenario.refuse_emulation()
    topology = scenario.network.applied_to(load_topology(scenario.topology))
    placement = {name: site for name, (_, site) in scenario.place.nodes().items()}
    for site in placement.values():
        topology.one_way_ms(site, site)  # refuses a site the topology does not have
    for text in options.pcap:
        parse_pair(text, placement)
    replay = replay_of(scenario, topology)
    schedule = LinkSchedule(specified_links(topology, placement), placement, pair_schedules(scenario, topology, replay))
    prompts = load_prompts(scenario.workload.prompts)
    check_enough_prompts(scenario, prompts)
    for device in scenario.devices.model_dump().values():
        load_profile(device)
    check_same_tokenizer(scenario.models.target, scenario.models.draft)
    tokenizer = load_tokenizer(scenario.models.target)
    hashes = {role: model_hash(name) for role, name in scenario.models.model_dump().items()}
    fabric, _ = resolve_fabric(options.fabric)  # refuses before anything is made
    nodes = choose_nodes(options.nodes, scenario)
    ingredients = {
        "fabric": fabric,
        "code": str(provenance.code()),
        "prompts": prompts.sha256,
        "topology": topology.model_dump_json(),
        **({} if replay is None else {"rtt_series": replay.series.sha256}),
        **nodes.ingredients(),
        **hashes,
    }
    return _Inputs(
        scenario,
        topology,
        placement,
        schedule,
        replay,
        prompts,
        tokenizer.encode,
        tokenizer.eos_token_id,
        hashes,
        nodes,
        run_id(scenario.resolved(), ingredients),
    )


@contextmanager
def _journal(run_id: str) -> Iterator[Journal]:
    """A journal that lasts until the results are published, so that what is left at any moment can be cleaned."""
    journal = Journal.for_run(run_id)
    try:
        yield journal
    finally:
        with shielded():
            journal.undo()
            journal.close()


def _measure(inputs: _Inputs, options: Options, partial: Path, journal: Journal, progress: Progress) -> _Measured:
    """Brings everything up, runs every phase, takes everything down."""
    measured = _Measured()
    log_dir = partial / "logs"
    log_dir.mkdir()
    progress.note("bringing up and measuring the network")
    try:
        with (
            containers(inputs.nodes, inputs.scenario, inputs.run_id, journal) as contained,
            Network(
                inputs.topology,
                inputs.placement,
                options.fabric,
                inputs.run_id,
                journal,
                pids={} if contained is None else contained.pids,
                used=_used_pairs(inputs),
                live=bool(inputs.schedule.pairs),
            ) as network,
        ):
            network.require(inputs.schedule.lowest())
            progress.note(f"fabric {network.fabric_name}: {network.fabric_reason}")
            for reason in network.invalid_reasons():
                progress.note(f"not valid: {reason}")
            measured.links += _link_rows("before", network)
            watched = sorted(pair for pair in _used_pairs(inputs) if pair[0] < pair[1]) if options.probe else []
            conditions = Conditions(network, inputs.schedule, inputs.scenario.events, watched, journal, progress)
            progress.note(f"starting {len(inputs.placement)} nodes, loading models")
            captured = [parse_pair(text, inputs.placement) for text in options.pcap]
            with (
                Capture(network.ports, captured, partial, journal) as capture,
                Deployment(inputs.scenario, network, log_dir, contained) as deployment,
            ):
                _run_phases(inputs, deployment, conditions, log_dir, measured, progress)
                measured.facts |= deployment.facts()
            if contained is not None:
                contained.note_exits()
                measured.facts["containers"] = contained.facts()
            if captured:
                measured.facts["captures"] = capture.facts
            measured.replay, measured.probes = conditions.replayed, conditions.probes
            conditions.restore()
            progress.note("measuring the links again")
            network.probe(PROBES_AFTER)
            measured.links += _link_rows(AFTER, network)
            if network.invalid_reasons():
                progress.note("once more, to tell the links from the machine")
                network.probe(PROBES_AFTER)
                measured.links += _link_rows(REPEATED, network)
            measured.counters = network.counters()
            measured.facts |= {
                "fabric": network.fabric_name,
                "fabric_reason": network.fabric_reason,
                "network": network.facts(),
            }
    finally:
        with shielded():
            journal.undo()
    return measured


def _used_pairs(inputs: _Inputs) -> set[tuple[str, str]]:
    """Every node speaks with the target's, and with nobody else (`Deployment`)."""
    targets = {name for name, (role, _) in inputs.scenario.place.nodes().items() if role == "target"}
    return {(a, b) for a, b in permutations(inputs.placement, 2) if a in targets or b in targets}


def _run_phases(
    inputs: _Inputs,
    deployment: Deployment,
    conditions: Conditions,
    log_dir: Path,
    measured: _Measured,
    progress: Progress,
) -> None:
    scenario = inputs.scenario
    drain_s = inputs.schedule.slowest_rtt_ms() / 1e3 + DRAIN_MARGIN_S
    for repeat in range(scenario.repeats):
        for entry in scenario.policies:
            first = len(measured.planned) + 1
            requests = plan_requests(scenario, inputs.prompts, inputs.encode, inputs.eos, first, repeat)
            measured.planned |= {one.request: one for one in requests}
            patient = patience(scenario, inputs.schedule, requests)
            phase = run_phase(deployment, conditions, entry, repeat, requests, log_dir, drain_s, patient, progress)
            measured.log.extend(phase.log)
            measured.stale_messages += phase.stale_messages
            if phase.given_up:
                measured.given_up.setdefault(entry.label, []).extend(phase.given_up)


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


def _write_rows(directory: RunDirectory, inputs: _Inputs, measured: _Measured) -> None:
    from testbed.emulation.lossless import compare  # torch: only now, so that it does not share the cores with the run

    scenario = inputs.scenario
    sampled = scenario.workload.sampling.temperature > 0
    law_only = frozenset(
        entry.label for entry in scenario.policies if sampled and entry.params.get("draft") == "sampled"
    )
    requests, mismatches = compare(scenario.models.target, measured.log.requests, measured.planned, law_only)
    measured.facts["mismatches"] = [mismatch._asdict() for mismatch in mismatches]
    directory.write_rows("requests", requests)
    directory.write_rows("rounds", measured.log.rounds)
    directory.write_rows("steps", measured.log.steps)
    directory.write_rows("messages", measured.log.messages)
    directory.write_rows("links", measured.links)
    if measured.replay:
        directory.write_rows("replay", measured.replay)
    if measured.probes:
        directory.write_rows("probes", measured.probes)
    measured.facts["given_up"] = measured.given_up


def _manifest(inputs: _Inputs, started: datetime) -> dict[str, Any]:
    scenario = inputs.scenario
    where = {"place": scenario.place.model_dump(mode="json"), "target_drafter_rtt_ms": _target_drafter_rtt_ms(inputs)}
    return {
        "run_id": inputs.run_id,
        "experiment": scenario.name,
        "engine": "emulation",
        "nodes": inputs.nodes.name,
        "nodes_reason": inputs.nodes.reason,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "scenario": scenario.resolved(),
        "policies": [{**entry.model_dump(mode="json"), **where} for entry in scenario.policies],
        "models": {
            role: {"name": name, "sha256": inputs.model_hashes[role]}
            for role, name in scenario.models.model_dump().items()
        },
        "prompts": {"name": inputs.prompts.name, "sha256": inputs.prompts.sha256},
        "topology": inputs.topology.model_dump(mode="json", by_alias=True),
        "rtt_series": None if inputs.replay is None else inputs.replay.series.as_manifest(),
        "sampling": sampling_of(scenario.resolved()),
        "node_placement": dict(inputs.placement),
        "real": "tokens, acceptance, framing, TCP, processes",
        "paced": [role for role, name in scenario.devices.model_dump().items() if name != "native"],
        "machine": provenance.gather(),
    }


def _target_drafter_rtt_ms(inputs: _Inputs) -> float | None:
    """RTT between the target's site and the drafters'; None without drafters or with drafters at several sites."""
    sites: dict[str, set[str]] = {}
    for role, site in inputs.scenario.place.nodes().values():
        sites.setdefault(role, set()).add(site)
    if len(sites.get("drafter", ())) != 1:
        return None
    return inputs.topology.rtt_ms(*sites["target"], *sites["drafter"])
