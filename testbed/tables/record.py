"""Records the decode table of a real pair over a prompt set, with the models loaded as the emulation loads them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from testbed.decoding.rng import request_seed
from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.files.datafiles import VERSION
from testbed.models.fitness import require_fit
from testbed.models.guard import guard_of
from testbed.models.limits import Text
from testbed.models.load import check_same_tokenizer, load_model, model_hash
from testbed.models.lookup import LOOKUP
from testbed.models.packs import DTYPE
from testbed.models.passes import passes_of_lookup
from testbed.models.runtime import CausalRuntime
from testbed.tables.record_prompt import Extent, record_prompt
from testbed.tables.table import (
    OF_LOAD,
    DecodeTable,
    Ints,
    PromptTable,
    Provenance,
    SampledFrom,
    make_table,
    output_key,
)
from testbed.workload.prompts import PromptSet

DEPTH = 17  # one more than WANSpec's default look-ahead, so that a full look-ahead can still be drafted from
VERSIONED = ("torch", "transformers", "numpy")

Progress = Callable[[str], None]


class Asked(NamedTuple):
    """One output to record."""

    prompt_id: str
    prompt: Ints
    output_tokens: int
    sampling: Sampling


def record(
    target: str,
    draft: str,
    prompts: PromptSet,
    output_tokens: int,
    depth: int = DEPTH,
    ignore_eos: bool = False,
    progress: Progress = lambda _: None,
    second_choice: bool = True,
    name: str = "recorded",
    sampling: SampledFrom | None = None,
    asked: Sequence[Asked] = (),
    load: str = "",
) -> DecodeTable:
    """Every prompt's table: greedy, or with `sampling` one for each request of an experiment that samples.

    `asked`: these outputs instead, as long as each says, of prompts that were made of the set for this `load`.
    BadInput if the models are not a pair, or too short for what is asked.
    """
    if depth < 1 or output_tokens < 1:
        raise BadInput(f"depth {depth} and output_tokens {output_tokens}: both must be at least 1")
    check_same_tokenizer(target, draft)
    big = load_model(target, DTYPE, threads=1)
    small = None if draft == LOOKUP else load_model(draft, DTYPE, threads=1)
    ends = () if ignore_eos else big.ends
    outputs = asked or [
        Asked(prompt.id, ids, output_tokens, one)
        for number, prompt in enumerate(prompts.prompts)
        for ids in [tuple(big.tokenizer.encode(prompt.text))]
        for one in _requests(sampling, number)
    ]
    texts = [
        Text(one.prompt_id, one.prompt, len(one.prompt) + one.output_tokens + depth, "with its output and a rollout")
        for one in outputs
    ]
    loaded = {"target": big, **({} if small is None else {"draft": small})}
    fitness = require_fit({"target": target, "draft": draft}, {}, texts, loaded)
    recorded: dict[str, PromptTable] = {}
    for number, one in enumerate(outputs, start=1):
        progress(f"prompt {number} of {len(outputs)}: {one.prompt_id}")
        runtimes = {
            role: CausalRuntime(model.model, guard_of(model.model, fitness.of(role))) for role, model in loaded.items()
        }
        drafter = runtimes.get("draft") or passes_of_lookup(fitness.vocabularies).runtime()
        extent = Extent(one.output_tokens, depth, ends, second_choice)
        recorded[output_key(one.prompt_id, one.sampling)] = record_prompt(
            runtimes["target"], drafter, one.prompt, extent, one.sampling
        )
    provenance = Provenance(
        target=target,
        draft=draft,
        prompts=prompts.name,
        depth=depth,
        output_tokens=output_tokens,
        eos=None if ignore_eos else big.ends[0] if len(big.ends) == 1 else big.ends,
        second_choice=second_choice,
        target_sha256=big.sha256,
        draft_sha256=model_hash(draft),
        prompts_sha256=prompts.sha256,
        dtype=DTYPE,
        versions={"testbed": VERSION, **{package: importlib.metadata.version(package) for package in VERSIONED}},
        sampling=msgspec.UNSET if sampling is None else sampling,
        note=f"{OF_LOAD}{load}" if load else "",
    )
    return make_table(name, provenance, recorded)


def _requests(sampling: SampledFrom | None, index: int) -> Iterator[Sampling]:
    """How the prompt at `index` of its set is decoded: once greedily, or in each repeat with that request's seed."""
    if sampling is None:
        yield Sampling()
        return
    for repeat in range(sampling.repeats):
        yield sampling.with_seed(request_seed(sampling.seed, index, repeat))
