"""What a simulation reads besides its experiment (`resolve`), checked before anything runs: decode table, overheads.

Rule kept: a table answers for exactly the models and prompts it was recorded from, or is refused. No tokenizer and no
weights are needed: the table holds the prompts' tokens and the end-of-text token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from testbed.decoding.output import ended
from testbed.decoding.rng import request_seed
from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.experiment import resolve
from testbed.experiment.faults import node_stops
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.resolve import Resolved
from testbed.experiment.scenario import Scenario
from testbed.experiment.timeouts import gives_up_s, last_for_good_ns, work_s
from testbed.files.named import TABLE
from testbed.files.named import known as known_files
from testbed.models.devices import NATIVE
from testbed.network.spec.topology import Topology
from testbed.policies.routing.options import Routing
from testbed.simulation.fitting import (
    Hashes,
    misfit,
    other_draws,
    record_command,
    refuse_sampled_drafts,
    refuse_unverified,
)
from testbed.simulation.links import link_specs
from testbed.simulation.tcp.estimate import MAX_RTO_NS
from testbed.simulation.world import Overheads, WorldSpec
from testbed.system.units import NS_PER_S
from testbed.tables.outcomes import MadeUp, Recorded, outcome_table
from testbed.tables.stretched import POOL, stretched
from testbed.tables.table import DecodeTable, Provenance, load_provenance, load_table
from testbed.workload.planned import PlannedRequest
from testbed.workload.prompts import Prompt, PromptSet


class Sources(resolve.Sources):
    """Where inputs are read from, decode tables too. A sweep brings one that reads each thing once."""

    def table(self, name: str) -> DecodeTable:
        return load_table(name)

    def provenance(self, name: str) -> Provenance:
        """Of a table, without its rows."""
        return load_provenance(name)

    def made_up(self, scenario: Scenario) -> DecodeTable:
        """The table of an experiment whose outcomes are not recorded ones."""
        assert isinstance(scenario.outcomes, MadeUp)
        workload = scenario.workload
        pooled = workload.load is not None or workload.sessions is not None
        prompts = min(workload.requests, POOL) if pooled else workload.requests
        made = outcome_table(scenario.outcomes, prompts, workload.output_tokens, scenario.seed, self.table, pooled)
        return stretched(made) if pooled else made


FILES = Sources()


@dataclass(frozen=True)
class SimulationInputs:
    experiment: Resolved  # the texts of its prompts are their ids: the tokens are the table's
    table: DecodeTable
    overheads: Overheads

    @property
    def scenario(self) -> Scenario:
        return self.experiment.scenario

    def plan(self, first: int, repeat: int) -> list[PlannedRequest]:
        """The requests of one phase."""
        return self.experiment.plan(self.encode, self.table.provenance.ends, first, repeat, self.made)

    def encode(self, prompt_id: str) -> Sequence[int]:
        return self.table.prompt_tokens[prompt_id]

    def made(self, name: str) -> Sequence[int]:
        """The tokens of a prompt that was made for a load or a conversation."""
        if name not in self.table.prompts:
            load = self.scenario.workload.load
            made_for = "a conversation" if load is None else f"load {load}"
            raise BadInput(
                f"decode table {self.table.name}: prompt {name!r}, made for {made_for}, is not in it; "
                f"{record_command(self.scenario)}"
            )
        return self.table.prompts[name].prompt

    def expected(self, planned: PlannedRequest) -> tuple[int, ...]:
        """The output that was recorded for a request."""
        recorded = self.table.output(planned.prompt_id, planned.sampling)
        assert recorded is not None, "the request was checked, so its output is recorded"
        return ended(recorded.tokens[: planned.max_tokens], planned.eos)

    def world(self) -> WorldSpec:
        """What every phase of the run has in common."""
        return self._world

    @cached_property
    def _world(self) -> WorldSpec:
        experiment, scenario = self.experiment, self.scenario
        return WorldSpec(
            nodes=scenario.place.nodes(),
            links=link_specs(experiment.topology, experiment.placement, experiment.schedules),
            profiles={"target": experiment.devices["target"], "draft": experiment.devices["drafter"]},
            seed=scenario.seed,
            drain_ns=round(experiment.drain_s * NS_PER_S),
            overheads=self.overheads,
            stops=node_stops(scenario.events),
            patience_ns=self._patience_ns(),
            background=experiment.background,
            routing={entry.label: self._routing(entry) for entry in scenario.policies},
            keeping=scenario.keeping,
        )

    def _routing(self, entry: PolicyEntry) -> Routing | None:
        """Without events no target falls silent, so none is looked after: that would cost four pings a second each."""
        routing = self.scenario.routing_of(entry)
        if routing is None or self.scenario.events:
            return routing
        return routing.model_copy(update={"failover_ms": None})

    def _patience_ns(self) -> int | None:
        experiment, scenario = self.experiment, self.scenario
        ends_cut = [one.ends_cut for one in experiment.schedules.values() if one.ends_cut is not None]
        for_good_ns = last_for_good_ns(scenario.events, ends_cut)
        if for_good_ns is None:
            return None
        step_ms = sum(device.long_ms(1) for device in experiment.devices.values())
        output_tokens = scenario.workload.output_tokens
        gap_ms = max((one.due_ms or one.think_ms for one in self.plan(1, 0)), default=0.0)
        seconds = gap_ms / 1e3 + work_s(step_ms, experiment.slowest_rtt_ms, output_tokens, ())
        # virtual seconds cost nothing: room for a connection that comes back after a cut, too
        return round((gives_up_s(for_good_ns, seconds) + MAX_RTO_NS / NS_PER_S) * NS_PER_S)


def from_scenario(
    scenario: Scenario,
    table_name: str | None,
    overheads: Overheads,
    note: Callable[[str], None],
    sources: Sources = FILES,
    simulated: bool = True,
) -> SimulationInputs:
    """Inputs of an experiment file. Without a table's name, a known table of these models and prompts is looked for.

    `simulated`: its links are to be simulated too.
    """
    refuse_sampled_drafts(scenario)
    refuse_unverified(scenario)
    outcomes = scenario.outcomes
    if isinstance(outcomes, Recorded):
        table_name = table_name or outcomes.table
    if isinstance(outcomes, MadeUp) and table_name is not None:
        raise BadInput(
            f"outcomes: the experiment defines synthetic outcomes, so table {table_name!r} cannot be used; remove one"
        )
    named = None if table_name is None else sources.table(table_name)
    named = sources.made_up(scenario) if isinstance(outcomes, MadeUp) else named
    if named is not None and named.synthetic:
        prompts = by_id(named.name, list(named.prompt_tokens), named.sha256)
        return _checked(
            SimulationInputs(resolve.resolve(scenario, sources, prompts=prompts), named, overheads), simulated
        )
    experiment = resolve.resolve(scenario, sources)
    held = experiment.prompts
    table = choose_table(scenario, hashes_of(scenario, held, note, sources), named, sources)
    prompts = by_id(held.name, [prompt.id for prompt in held.prompts], held.sha256)
    return _checked(SimulationInputs(replace(experiment, prompts=prompts), table, overheads), simulated)


def from_manifest(
    manifest: Mapping[str, Any], prompt_ids: Sequence[str], table_name: str | None, overheads: Overheads
) -> SimulationInputs:
    """Inputs of a run that was: nothing is read but its manifest, the prompts it issued, and a table of its models."""
    scenario = Scenario.model_validate(manifest["scenario"])
    refuse_sampled_drafts(scenario)
    refuse_unverified(scenario)
    topology = Topology.model_validate_json(json.dumps(manifest["topology"]))
    models, prompts = manifest["models"], manifest["prompts"]
    if isinstance(scenario.outcomes, MadeUp):
        if table_name is not None:
            raise BadInput(f"the run's outcomes are synthetic, so table {table_name!r} cannot be used")
        made = FILES.made_up(scenario)
        held = by_id(made.name, list(made.prompt_tokens), made.sha256)
        return _checked(SimulationInputs(resolve.resolve(scenario, FILES, topology, held), made, overheads))
    hashes = Hashes(models["target"]["sha256"], models["draft"]["sha256"], prompts["sha256"])
    table = choose_table(scenario, hashes, None if table_name is None else load_table(table_name))
    held = by_id(prompts["name"], prompt_ids, prompts["sha256"])
    return _checked(SimulationInputs(resolve.resolve(scenario, FILES, topology, held), table, overheads))


def hashes_of(scenario: Scenario, prompts: PromptSet, note: Callable[[str], None], sources: Sources = FILES) -> Hashes:
    """Of what the experiment names. Weights that are not here are unknown, and that is noted."""
    models = scenario.models
    return Hashes(_weights(models.target, note, sources), _weights(models.draft, note, sources), prompts.sha256)


def choose_table(
    scenario: Scenario, hashes: Hashes, named: DecodeTable | None, sources: Sources = FILES
) -> DecodeTable:
    """The table named, if it fits, else the first known table that does."""
    if named is not None:
        if wrong := misfit(named.provenance, scenario, hashes):
            raise BadInput(f"decode table {named.name}: {wrong}; {record_command(scenario)}")
        return named
    known = {name: sources.provenance(name) for name in known_files(TABLE)}
    fitting = [name for name, made_of in known.items() if misfit(made_of, scenario, hashes) is None]
    wanted = scenario.workload.output_tokens
    if fitting:  # the first that is long enough, else the first, which will be said to be too short
        return sources.table(min(fitting, key=lambda name: known[name].output_tokens < wanted))
    models, temperature = scenario.models, scenario.workload.sampling.temperature
    how = f", sampled at temperature {temperature:g} with seed {scenario.seed}" if temperature > 0 else ""
    raise BadInput(
        f"no decode table in {TABLE.folder}/ holds {models.target} with {models.draft} on prompt set "
        f"'{scenario.workload.prompts}'{how}; {record_command(scenario)}"
    )


def _checked(inputs: SimulationInputs, simulated: bool = True) -> SimulationInputs:
    """Refuses what no table can answer for, and links that cannot be simulated, before the first event."""
    scenario, table = inputs.scenario, inputs.table
    workload = scenario.workload
    for role, device in scenario.devices.model_dump().items():
        if device == NATIVE:
            raise BadInput(
                f"devices.{role}: 'native' has no pass times, so it needs models that run; use a device profile, for "
                "example l40s/llama-3.1-8b"
            )
    if wrong := other_draws(table.provenance, scenario):
        raise BadInput(f"decode table {table.name}: {wrong}; {record_command(scenario)}")
    eos = () if workload.ignore_eos else table.provenance.ends
    if not workload.ignore_eos and table.provenance.eos is None and not table.synthetic:
        raise BadInput(
            f"decode table {table.name}: was recorded past the end of text; set workload.ignore_eos=true, or "
            f"{record_command(scenario)}"
        )
    for prompt_id, sampling, needed in [] if table.synthetic and workload.load is not None else _asked(inputs):
        one = table.output(prompt_id, sampling)
        if one is None:
            raise BadInput(f"decode table {table.name}: prompt {prompt_id!r} is not in it; {record_command(scenario)}")
        if len(one.tokens) < needed and not any(token in eos for token in one.tokens):
            raise BadInput(
                f"decode table {table.name}: prompt {prompt_id!r} has {len(one.tokens)} output tokens, "
                f"workload.output_tokens is {needed}; {record_command(scenario)}"
            )
    if simulated:
        inputs.world()  # refuses links that cannot be simulated
    return inputs


def _asked(inputs: SimulationInputs) -> Iterator[tuple[str, Sampling, int]]:
    """Each output that the requests need: its prompt, how it is decoded, and how many tokens."""
    scenario = inputs.scenario
    workload = scenario.workload
    for repeat in range(scenario.repeats if workload.sampling.temperature > 0 or workload.load is not None else 1):
        if workload.load is not None:
            for planned in inputs.plan(1, repeat):
                yield planned.prompt_id, planned.sampling, planned.max_tokens
            continue
        for index, prompt in enumerate(inputs.experiment.prompts.prompts[: workload.requests]):
            sampling = workload.sampling.with_seed(request_seed(scenario.seed, index, repeat))
            yield prompt.id, sampling, workload.output_tokens


def _weights(name: str, note: Callable[[str], None], sources: Sources) -> str | None:
    try:
        return sources.weights(name)
    except BadInput as error:
        note(f"the table's models are compared by name only: {error}")
        return None


def by_id(name: str, ids: Sequence[str], sha256: str) -> PromptSet:
    """A prompt set whose texts are the ids: the tokens are in the table."""
    return PromptSet(name, tuple(Prompt(one, one) for one in ids), sha256)
