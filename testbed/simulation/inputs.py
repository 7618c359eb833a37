"""Everything a simulation reads, checked before anything runs: scenario, topology, decode table, prompts, overheads.

Rule kept: a table answers for exactly the models and prompts it was recorded from, or is refused. No tokenizer and no
weights are needed: the table holds the prompts' tokens and the end-of-text token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.errors import BadInput
from testbed.models.devices import NATIVE, load_profile
from testbed.models.load import model_hash
from testbed.models.tables import FOLDER, SUFFIX, DecodeTable, load_table
from testbed.network.topology import Topology, load_topology
from testbed.repository import available
from testbed.scenario import Scenario
from testbed.simulation.links import NS_PER_MS, link_specs
from testbed.simulation.world import Overheads, WorldSpec
from testbed.workload.prompts import Prompt, PromptSet, load_prompts

DRAIN_MARGIN_MS = 100.0  # as the emulation waits after a phase's last answer, beyond one round trip


@dataclass(frozen=True)
class Hashes:
    """SHA-256 of what a table must have been recorded from; None where it is not known here."""

    target: str | None
    draft: str | None
    prompts: str | None


@dataclass(frozen=True)
class Inputs:
    scenario: Scenario
    topology: Topology
    table: DecodeTable
    prompts: PromptSet  # its texts are prompt ids: the tokens are the table's
    overheads: Overheads

    @property
    def placement(self) -> dict[str, str]:
        """Node to site."""
        return {name: site for name, (_, site) in self.scenario.place.nodes().items()}

    def encode(self, prompt_id: str) -> Sequence[int]:
        return self.table.prompts[prompt_id].prompt

    def world(self) -> WorldSpec:
        """What every phase of the run has in common."""
        scenario, placement = self.scenario, self.placement
        sites = placement.values()
        drain_ms = max(self.topology.rtt_ms(a, b) for a in sites for b in sites) + DRAIN_MARGIN_MS
        return WorldSpec(
            nodes=scenario.place.nodes(),
            links=link_specs(self.topology, placement),
            profiles={"target": load_profile(scenario.devices.target), "draft": load_profile(scenario.devices.drafter)},
            seed=scenario.seed,
            drain_ns=round(drain_ms * NS_PER_MS),
            overheads=self.overheads,
        )


def from_scenario(
    scenario: Scenario, table_name: str | None, overheads: Overheads, note: Callable[[str], None]
) -> Inputs:
    """Inputs of an experiment file. Without a table's name, a known table of these models and prompts is looked for."""
    topology = load_topology(scenario.topology)
    named = None if table_name is None else load_table(table_name)
    if named is not None and named.synthetic:
        prompts = by_id(named.name, list(named.prompts), named.sha256)
        return _checked(Inputs(scenario, topology, named, prompts, overheads))
    held = load_prompts(scenario.workload.prompts)
    models = scenario.models
    hashes = Hashes(_weights(models.target, note), _weights(models.draft, note), held.sha256)
    table = choose_table(scenario, hashes, named)
    prompts = by_id(held.name, [prompt.id for prompt in held.prompts], held.sha256)
    return _checked(Inputs(scenario, topology, table, prompts, overheads))


def from_manifest(
    manifest: Mapping[str, Any], prompt_ids: Sequence[str], table_name: str | None, overheads: Overheads
) -> Inputs:
    """Inputs of a run that was: nothing is read but its manifest, the prompts it issued, and a table of its models."""
    scenario = Scenario.model_validate(manifest["scenario"])
    topology = Topology.model_validate_json(json.dumps(manifest["topology"]))
    models, prompts = manifest["models"], manifest["prompts"]
    hashes = Hashes(models["target"]["sha256"], models["draft"]["sha256"], prompts["sha256"])
    table = choose_table(scenario, hashes, None if table_name is None else load_table(table_name))
    held = by_id(prompts["name"], prompt_ids, prompts["sha256"])
    return _checked(Inputs(scenario, topology, table, held, overheads))


def choose_table(scenario: Scenario, hashes: Hashes, named: DecodeTable | None) -> DecodeTable:
    """The table named, if it fits, else the first known table that does."""
    if named is not None:
        if wrong := _misfit(named, scenario, hashes):
            raise BadInput(f"decode table {named.name}: {wrong}; {_record(scenario)}")
        return named
    for name in available(FOLDER, SUFFIX):
        table = load_table(name)
        if _misfit(table, scenario, hashes) is None:
            return table
    models = scenario.models
    raise BadInput(
        f"no decode table in {FOLDER}/ holds {models.target} with {models.draft} on prompt set "
        f"'{scenario.workload.prompts}'; {_record(scenario)}"
    )


def _checked(inputs: Inputs) -> Inputs:
    """Refuses what cannot be simulated, before the first event."""
    scenario, table = inputs.scenario, inputs.table
    workload = scenario.workload
    for role, device in scenario.devices.model_dump().items():
        if device == NATIVE:
            raise BadInput(
                f"devices.{role}: 'native' has no profile to take times from, so it cannot be simulated; "
                "name a device profile, for example l40s/llama-3.1-8b"
            )
    if workload.sampling.temperature > 0:
        raise BadInput("workload.sampling: a decode table holds greedy outputs; set temperature 0, or emulate")
    if workload.requests > len(inputs.prompts.prompts):
        raise BadInput(
            f"workload.requests is {workload.requests}, but prompt set '{inputs.prompts.name}' holds "
            f"{len(inputs.prompts.prompts)}; ask for fewer or name a larger set"
        )
    eos = None if workload.ignore_eos else table.provenance.eos
    if not workload.ignore_eos and eos is None and not table.synthetic:
        raise BadInput(
            f"decode table {table.name}: was recorded past the end of text; set workload.ignore_eos=true, or "
            f"{_record(scenario)}"
        )
    for prompt in inputs.prompts.prompts[: workload.requests]:
        one = table.prompts.get(prompt.id)
        if one is None:
            raise BadInput(f"decode table {table.name}: prompt {prompt.id!r} is not in it; {_record(scenario)}")
        if len(one.tokens) < workload.output_tokens and (eos is None or eos not in one.tokens):
            raise BadInput(
                f"decode table {table.name}: prompt {prompt.id!r} has {len(one.tokens)} output tokens, "
                f"workload.output_tokens is {workload.output_tokens}; {_record(scenario)}"
            )
    inputs.world()  # refuses sites, profiles and links that are not there
    return inputs


def _misfit(table: DecodeTable, scenario: Scenario, hashes: Hashes) -> str | None:
    """Why this table is not of these models and prompts; None if it is. A hash not known here is not compared."""
    made_of = table.provenance
    names = (
        ("target", made_of.target, scenario.models.target, made_of.target_sha256, hashes.target),
        ("draft", made_of.draft, scenario.models.draft, made_of.draft_sha256, hashes.draft),
        ("prompts", made_of.prompts, scenario.workload.prompts, made_of.prompts_sha256, hashes.prompts),
    )
    if table.synthetic:
        return "it is synthetic, not of these models"
    for what, recorded, wanted, recorded_sha256, wanted_sha256 in names:
        if wanted_sha256 is None and recorded != wanted:
            return f"its {what} is {recorded!r}, not {wanted!r}"
        if wanted_sha256 is not None and recorded_sha256 != wanted_sha256:
            return f"its {what} {recorded!r} is not the {wanted!r} of this experiment (their hashes differ)"
    return None


def _weights(name: str, note: Callable[[str], None]) -> str | None:
    try:
        return model_hash(name)
    except BadInput as error:
        note(f"the table's models are compared by name alone: {error}")
        return None


def by_id(name: str, ids: Sequence[str], sha256: str) -> PromptSet:
    """A prompt set whose texts are the ids: the tokens are in the table."""
    return PromptSet(name, tuple(Prompt(one, one) for one in ids), sha256)


def _record(scenario: Scenario) -> str:
    models, workload = scenario.models, scenario.workload
    ignore = " --ignore-eos" if workload.ignore_eos else ""
    return (
        f"make one: testbed record --target {models.target} --draft {models.draft} --prompts {workload.prompts} "
        f"--output-tokens {workload.output_tokens}{ignore}"
    )
