"""Does a decode table fit an experiment? Its models, prompts, and how its outputs were chosen must be the same.

Decided from a table's provenance alone, so that a table can be chosen without reading its rows. A table that does not
fit is refused with the command that records one that does.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from testbed.errors import BadInput
from testbed.experiment.scenario import Scenario
from testbed.files.named import TABLE
from testbed.results.sampling import unverified_by_choice
from testbed.tables.table import LIVE, Provenance

REJECTION = "sampled"  # value of a policy's parameter `draft`: its drafts are drawn too, and verified by rejection


@dataclass(frozen=True)
class Hashes:
    """SHA-256 of what a table must have been recorded from; None where it is not known here."""

    target: str | None
    draft: str | None
    prompts: str | None


def misfit(made_of: Provenance, scenario: Scenario, hashes: Hashes) -> str | None:
    """Why such a table is not this experiment's; None if it is. A hash not known here is not compared."""
    names = (
        ("target", made_of.target, scenario.models.target, made_of.target_sha256, hashes.target),
        ("draft", made_of.draft, scenario.models.draft, made_of.draft_sha256, hashes.draft),
        ("prompts", made_of.prompts, scenario.workload.prompts, made_of.prompts_sha256, hashes.prompts),
    )
    if made_of.synthetic:
        return "it is synthetic, not recorded with these models"
    for what, recorded, wanted, recorded_sha256, wanted_sha256 in names:
        if wanted_sha256 is None and recorded != wanted:
            return f"its {what} is {recorded!r}, not {wanted!r}"
        if wanted_sha256 is not None and recorded_sha256 != wanted_sha256:
            return f"its {what} {recorded!r} is not the {wanted!r} of this experiment (their hashes differ)"
    load = made_of.load
    if (load is None) != (scenario.workload.load is None):
        return "it holds the prompts of the set" if load is None else f"its prompts were made for load {load}"
    return other_draws(made_of, scenario)


def other_draws(made_of: Provenance, scenario: Scenario) -> str | None:
    """Why its outputs are not those that this experiment would choose; None if they are."""
    wanted, made = scenario.workload.sampling, made_of.sampling
    if made is msgspec.UNSET:
        return (
            None if wanted.temperature == 0 else "it holds greedy output only, but workload.sampling has a temperature"
        )
    if wanted.temperature == 0:
        return f"its output was sampled at temperature {made.temperature:g}, but this experiment decodes greedily"
    for name in ("temperature", "top_k", "top_p"):
        if getattr(made, name) != getattr(wanted, name):
            return f"it was sampled with {name} {getattr(made, name):g}, not {getattr(wanted, name):g}"
    if made.seed != scenario.seed:
        return f"its draws are those of seed {made.seed}, this experiment's seed is {scenario.seed}"
    if made.repeats < scenario.repeats:
        return f"it was sampled for repeats: {made.repeats}, this experiment has {scenario.repeats}"
    return None


def refuse_sampled_drafts(scenario: Scenario) -> None:
    """BadInput where drafts are drawn at random too: what the target then emits depends on the policy."""
    if scenario.workload.sampling.temperature == 0:
        return  # greedy requests draft greedily, whatever the parameter says
    for entry in scenario.policies:
        if entry.params.get("draft") == REJECTION:
            raise BadInput(
                f"policy {entry.label!r}: `draft: {REJECTION}` verifies by rejection, whose output depends on the "
                f"drafts, so no table can hold it; use `draft: greedy` (seeded coupling), or {LIVE}"
            )


def refuse_unverified(scenario: Scenario) -> None:
    """BadInput where a device may hand out drafts: what follows a wrong one is on no recorded text."""
    for label in unverified_by_choice([entry.model_dump() for entry in scenario.policies]):
        raise BadInput(
            f"policy {label!r}: fall_back emits unverified tokens, but a table holds only the target's text; remove "
            f"fall_back, or {LIVE}"
        )


def record_command(scenario: Scenario) -> str:
    """The fix: how to record a table that fits."""
    models, workload = scenario.models, scenario.workload
    if workload.load is not None:
        out = f"{TABLE.folder}/my-table{TABLE.suffix}"
        made_up = "or make outcomes up, as outcomes: {drawn: {table: NAME}}"
        return f"record one: testbed record --experiment FILE --out {out}, {made_up}"
    sampling = workload.sampling
    options = " --ignore-eos" if workload.ignore_eos else ""
    if sampling.temperature > 0:
        options += f" --temperature {sampling.temperature:g} --seed {scenario.seed}"
        options += f" --repeats {scenario.repeats}" if scenario.repeats > 1 else ""
        options += f" --top-k {sampling.top_k}" if sampling.top_k else ""
        options += f" --top-p {sampling.top_p:g}" if sampling.top_p < 1 else ""
    return (
        f"record one: testbed record --target {models.target} --draft {models.draft} --prompts {workload.prompts} "
        f"--output-tokens {workload.output_tokens}{options} --out {TABLE.folder}/my-table{TABLE.suffix}"
    )
