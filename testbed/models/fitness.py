"""Whether the models of an experiment can do what its policies ask of them: said before anything is made.

Rule: a model is tried (`testbed.models.selftest`) once for its weights, configuration, library versions and this code,
and what was found is kept in the user's cache folder; nodes are told, and try nothing again. Only the kinds of pass
that are wrong are refused, and only where a policy needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from testbed.errors import BadInput
from testbed.models import kept, packs
from testbed.models.facts import Facts, facts_of
from testbed.models.fit import Fitness
from testbed.models.guard import NotNumbers
from testbed.models.limits import Text, require_room
from testbed.models.load import LoadedModel, load_model
from testbed.models.lookup import LOOKUP
from testbed.models.packs import DTYPE
from testbed.models.passes import LEAN, TRANSFORMERS, Passes, passes_of, passes_of_pack
from testbed.models.selftest import BATCH, KINDS, SINGLE, TREE, Findings, differs_from_generate, examine, lengths

NAMES = {SINGLE: "passes with a cache that is rewound", TREE: "passes over trees of drafts", BATCH: "batched passes"}


class Known(msgspec.Struct, frozen=True):
    """What is kept of one model; `generate` says how its decoding leaves that of `generate()`."""

    findings: Findings
    generate: str = ""
    lean: bool = False


def require_fit(
    models: Mapping[str, str],
    needs: Mapping[str, Mapping[str, str]],
    texts: Sequence[Text],
    loaded: Mapping[str, LoadedModel] | None = None,
) -> Fitness:
    """BadInput where a model is too short, or is not right in a kind of pass that is needed.

    `models` by role; `needs` by role and kind of pass, with who needs it; `loaded` what is in memory already.
    """
    refused: dict[str, dict[str, str]] = {}
    models = {role: name for role, name in models.items() if role == "target" or name != LOOKUP}  # it fits every target
    facts = {role: facts_of(name) for role, name in models.items()}
    for role, name in models.items():
        require_room(name, facts[role].rows, facts[role].room, texts)
    packed: dict[str, str] = {}
    unpacked: dict[str, str] = {}
    for role, name in models.items():
        have = (loaded or {}).get(role)
        known, pack, why = _known(name, facts[role], max(one.reach for one in texts), texts[0].prompt, have)
        if known.lean:
            packed |= {role: str(pack)} if not why else {}
            unpacked |= {role: why} if why else {}
        if role == "target" and known.generate:
            raise BadInput(
                f"model {name!r}: target-only decoding differs from transformers' generate(): {known.generate}"
            )
        wrong = {kind: why for kind in NAMES if (why := getattr(known.findings, kind))}
        refused[role] = {kind: _words(name, kind, why) for kind, why in wrong.items()}
        for kind, who in {SINGLE: "every policy", **needs.get(role, {})}.items():
            if kind in wrong:
                raise BadInput(f"{refused[role][kind]}; {who} needs them: choose another model or policy")
    vocabularies = {role: one.rows for role, one in facts.items() if one.rows is not None}
    return Fitness(refused, vocabularies, packed, unpacked)


def slower(models: Mapping[str, str], fitness: Fitness) -> list[str]:
    """A line for each thing that makes runs of these models start more slowly, or take more memory, than they could."""
    lines = []
    if why := kept.unusable():
        lines.append(f"what is found of models cannot be kept, so every run finds it anew: {why}")
    for role, why in fitness.unpacked.items():
        lines.append(
            f"model {models[role]!r}: every node loads it by transformers, as its weights cannot be kept as nodes map "
            f"them: {why}"
        )
    return lines


def _words(name: str, kind: str, why: str) -> str:
    return f"model {name!r} computes {NAMES[kind]} incorrectly: {why}"


def _known(
    name: str, facts: Facts, reach: int, prompt: Sequence[int], loaded: LoadedModel | None
) -> tuple[Known, Path | None, str]:
    """From what is kept, or found now; where its pack is, or why there is none."""
    path = kept.place(name, DTYPE, *lengths(facts.room, facts.boundaries, reach), suffix=".json")
    pack = packs.place(name)
    packed = packs.ready(pack)
    known = kept.read(path, Known)
    if known is not None and (packed or not known.lean):
        return known, pack, ""
    model = loaded or load_model(name, DTYPE, threads=1)
    why = "" if packed else packs.make(pack, model.model, model.sha256)
    if not why:
        assert pack is not None
        chosen = passes_of_pack(name, packs.load(name, pack))
    else:
        chosen = passes_of(model.model)
    if known is None:
        known = _found(model, chosen, reach, prompt)
        kept.write(path, known)
    return known, pack, why


def _found(model: LoadedModel, chosen: Passes, reach: int, prompt: Sequence[int]) -> Known:
    """Tried now."""
    reference = passes_of(model.model, TRANSFORMERS).runtime
    try:
        findings = examine(model, reference, reach)
        if chosen.path != TRANSFORMERS:  # what runs must be right, and so must what it is compared with
            other = examine(model, chosen.runtime, reach)
            worse = {kind: getattr(findings, kind) or getattr(other, kind) for kind in KINDS}
            findings = Findings(**worse, lengths=other.lengths)
        differs = "" if findings.single else differs_from_generate(model, reference, prompt)
    except NotNumbers as error:
        raise BadInput(str(error)) from error
    return Known(findings, differs, chosen.path == LEAN)
