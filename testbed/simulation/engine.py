"""Runs an experiment in virtual time: the same policies, plan, log and report as the emulation, from a decode table.

Rule kept: rows follow from the scenario, its table and the code alone, so one seed gives the same bytes in every table
of the log (invariant 3). Importing this imports no torch.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from testbed.experiment.again import NAME as EXPERIMENT
from testbed.experiment.again import write_experiment
from testbed.experiment.policyentry import PolicyEntry
from testbed.nodes.recorder import PhaseLog
from testbed.policies.faults import PolicyFault
from testbed.results import manifest as provenance
from testbed.results.records import LinkRow, RequestRow
from testbed.results.room import needed
from testbed.results.rundir import Attempt, Outcome, attempting, publish
from testbed.results.sampling import sampling_of
from testbed.results.store import FILES, RunData, RunDirectory, load
from testbed.results.summary import summarise
from testbed.results.unmet import PhaseTime
from testbed.results.validity import Counts
from testbed.simulation.inputs import SimulationInputs, from_scenario
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import NO_OVERHEADS, Overheads, World
from testbed.system.compiled import in_use
from testbed.system.units import NS_PER_S
from testbed.workload.planned import PlannedRequest

if TYPE_CHECKING:
    from testbed.experiment.progress import Progress
    from testbed.experiment.scenario import Scenario

POLICY_LOG = "policy.log"  # of an attempt that a policy's fault ended: its traceback


@dataclass(frozen=True)
class Options:
    """What the command line adds to the scenario."""

    out: Path = Path("runs")
    table: str | None = None  # a decode table by name or path; None: one that fits, from those that are known
    overheads: Overheads = NO_OVERHEADS


@dataclass
class Simulated:
    """What all phases recorded, in their order, and which requests they were given."""

    log: PhaseLog = field(default_factory=PhaseLog)
    planned: dict[int, PlannedRequest] = field(default_factory=dict)
    given_up: dict[str, list[int]] = field(default_factory=dict)  # by policy: unanswered, as an event cut them off
    gave_up_ns: dict[tuple[str, int], int] = field(default_factory=dict)  # by policy and repeat, when that was


def run(scenario: Scenario, options: Options, progress: Progress) -> Outcome:
    """One simulated run. Raises BadInput or RunInvalid."""
    progress.note("reading inputs")
    inputs = from_scenario(scenario, options.table, options.overheads, progress.note)
    progress.note(f"decode table {inputs.table.name} ({inputs.table.sha256[:12]})")
    identity = _identity(inputs)
    with attempting(options.out, scenario.name, identity, needed(scenario, "simulation")) as attempt:
        try:
            return _run(inputs, identity, attempt, progress)
        except PolicyFault as fault:
            log = attempt.partial / POLICY_LOG
            log.write_text("".join(traceback.format_exception(fault)))
            raise PolicyFault(f"{fault}; log: {log}") from fault
        except BaseException:
            attempt.discard()  # it is done again in no time, and has no logs
            raise


def _run(inputs: SimulationInputs, identity: str, attempt: Attempt, progress: Progress) -> Outcome:
    simulated = simulate(
        inputs,
        on_phase=lambda entry, repeat: progress.phase(entry.label, repeat, inputs.scenario.workload.requests),
        on_done=progress.request_done,
    )
    for policy, (lookups, approximated) in simulated.log.lookups.items():
        progress.note(f"{policy}: approximated lookups: {approximated} of {lookups} (docs/decode-tables.md)")
    data, summary = write_run(inputs, simulated, identity, attempt.partial)
    progress.note("drawing the report")
    from testbed.report import write_page  # matplotlib is slow to import; bad input should not wait for it

    report = write_page(RunDirectory(attempt.partial), data, summary)
    return Outcome(publish(attempt, (*FILES, report.name, EXPERIMENT)), summary, data.manifest)


def write_run(
    inputs: SimulationInputs, simulated: Simulated, identity: str, path: Path
) -> tuple[RunData, dict[str, Any]]:
    """Log, manifest and summary of a simulated run into a folder; returns what the folder holds, and the summary."""
    directory = RunDirectory(path)
    rows = rows_of(inputs, simulated)
    for kind, of_kind in rows.items():
        directory.write_rows(kind, of_kind)
    manifest = _manifest(inputs, identity)
    phases = _phases(rows["requests"], simulated.gave_up_ns)
    manifest["phases"] = [one._asdict() for one in phases]
    if simulated.log.lookups:
        manifest["tree_lookups"] = {
            policy: {"of": of, "approximated": n} for policy, (of, n) in simulated.log.lookups.items()
        }
    if simulated.given_up:
        manifest["given_up"] = simulated.given_up
    directory.write_manifest(manifest)
    write_experiment(path, inputs.scenario.resolved(), "simulation", identity)
    data = load(path)
    summary = summarise(data, counts_of(inputs))
    directory.write_summary(summary)
    return data, summary


def counts_of(inputs: SimulationInputs) -> Counts:
    """What was asked for; a simulation has no packets that could be lost track of."""
    scenario = inputs.scenario
    return Counts(unmatched_packets=0, requests_per_policy=scenario.workload.requests * scenario.repeats)


def simulate(
    inputs: SimulationInputs,
    on_phase: Callable[[PolicyEntry, int], None] = lambda entry, repeat: None,
    on_done: Callable[[int], None] = lambda tokens: None,
) -> Simulated:
    """Every phase of the experiment, each its own world, numbered and seeded as the emulation does."""
    scenario, spec = inputs.scenario, inputs.world()
    simulated = Simulated()
    for repeat in range(scenario.repeats):
        for entry in scenario.policies:
            on_phase(entry, repeat)
            first = len(simulated.planned) + 1
            requests = inputs.plan(first, repeat)
            simulated.planned |= {one.request: one for one in requests}
            world = World(spec, entry, repeat, requests, inputs.table, on_done)
            simulated.log.extend(world.run())
            if world.given_up:
                simulated.given_up.setdefault(entry.label, []).extend(world.given_up)
                simulated.gave_up_ns[entry.label, repeat] = world.kernel.now_ns
    return simulated


def rows_of(inputs: SimulationInputs, simulated: Simulated) -> dict[str, Sequence[Any]]:
    """The log by kind, every output compared with the recorded target-only output."""
    log = simulated.log
    return {
        "requests": [_compared(inputs, row, simulated.planned[row.request]) for row in log.requests],
        "rounds": log.rounds,
        "steps": log.steps,
        "messages": log.messages,
        "links": _link_rows(inputs.world().links),
    }


def _phases(requests: Sequence[RequestRow], gave_up_ns: Mapping[tuple[str, int], int]) -> list[PhaseTime]:
    """Each phase's clock starts at 0, with its requests, and goes on to its last answer, or to giving up."""
    ended_ns: dict[tuple[str, int], int] = {}
    for row in requests:
        phase = row.policy, row.repeat
        ended_ns[phase] = max(ended_ns.get(phase, 0), row.finished_ns)
    lasted_ns = {**ended_ns, **gave_up_ns}
    return [PhaseTime(*phase, lasted_s=at_ns / NS_PER_S) for phase, at_ns in lasted_ns.items()]


def _compared(inputs: SimulationInputs, row: RequestRow, planned: PlannedRequest) -> RequestRow:
    return replace(row, lossless=row.tokens == inputs.expected(planned))


def _link_rows(links: Mapping[tuple[str, str], LinkSpec]) -> list[LinkRow]:
    """What was specified, once a pair: nothing was measured, so no packet is said to have been sent or received."""
    rows = []
    for (src, dst), link in links.items():
        rtt_ms = link.one_way_ms + links[dst, src].one_way_ms
        rows.append(LinkRow("specified", src, dst, rtt_ms, rtt_ms, rtt_ms, link.one_way_ms, link.one_way_ms, 0, 0))
    return rows


def _identity(inputs: SimulationInputs) -> str:
    more = {"table": inputs.table.sha256, "overheads": str(asdict(inputs.overheads))}
    return inputs.experiment.run_id({"engine": "simulation", "code": str(provenance.code()), **more})


def _manifest(inputs: SimulationInputs, identity: str) -> dict[str, Any]:
    """No time of day and nothing measured: the same simulation gives the same manifest."""
    scenario, experiment, made_of = inputs.scenario, inputs.experiment, inputs.table.provenance
    place = scenario.place.model_dump(mode="json")
    return {
        "run_id": identity,
        **experiment.facts(),
        "engine": "simulation",
        "fabric": "virtual",
        "fabric_reason": "links are computed, in order, from the topology"
        + ("" if experiment.replay is None else f" and the RTT series {experiment.replay.series.name}"),
        "nodes": "virtual",
        "policies": [{**entry.facts(), "place": place} for entry in scenario.policies],
        "models": {
            "target": {"name": made_of.target, "sha256": made_of.target_sha256 or None},
            "draft": {"name": made_of.draft, "sha256": made_of.draft_sha256 or None},
        },
        "table": {"name": inputs.table.name, "sha256": inputs.table.sha256, "synthetic": inputs.table.synthetic},
        "sampling": sampling_of(scenario.resolved()),
        "overheads": asdict(inputs.overheads),
        "compiled": in_use(),
        "real": "tokens and acceptance, from the decode table" if not inputs.table.synthetic else "nothing",
        "paced": list(scenario.devices.model_dump()),
        "machine": provenance.gather(),
    }
