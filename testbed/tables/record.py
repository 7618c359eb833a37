"""Records the decode table of a real pair over a prompt set, with the models loaded as the emulation loads them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator

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
from testbed.tables.table import DecodeTable, PromptTable, Provenance, SampledFrom, make_table, output_key
from testbed.workload.prompts import PromptSet

DEPTH = 17  # one more than WANSpec's default look-ahead, so that a full look-ahead can still be drafted from
VERSIONED = ("torch", "transformers", "numpy")

Progress = Callable[[str], None]


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
) -> DecodeTable:
    """Every prompt's table: greedy, or with `sampling` one for each request of an experiment that samples.

    BadInput if the models are not a pair, or too short for what is asked.
    """
    if depth < 1 or output_tokens < 1:
        raise BadInput(f"depth {depth} and output_tokens {output_tokens}: both must be at least 1")
    check_same_tokenizer(target, draft)
    big = load_model(target, DTYPE, threads=1)
    small = None if draft == LOOKUP else load_model(draft, DTYPE, threads=1)
    extent = Extent(output_tokens, depth, () if ignore_eos else big.ends, second_choice)
    encoded = [tuple(big.tokenizer.encode(prompt.text)) for prompt in prompts.prompts]
    texts = [
        Text(prompt.id, ids, len(ids) + output_tokens + depth, "with its output and a rollout")
        for prompt, ids in zip(prompts.prompts, encoded, strict=True)
    ]
    loaded = {"target": big, **({} if small is None else {"draft": small})}
    fitness = require_fit({"target": target, "draft": draft}, {}, texts, loaded)
    recorded: dict[str, PromptTable] = {}
    for number, prompt in enumerate(prompts.prompts, start=1):
        progress(f"prompt {number} of {len(prompts.prompts)}: {prompt.id}")
        for one in _requests(sampling, number - 1):
            runtimes = {
                role: CausalRuntime(model.model, guard_of(model.model, fitness.of(role)))
                for role, model in loaded.items()
            }
            drafter = runtimes.get("draft") or passes_of_lookup(fitness.vocabularies).runtime()
            recorded[output_key(prompt.id, one)] = record_prompt(
                runtimes["target"], drafter, encoded[number - 1], extent, one
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
    )
    return make_table(name, provenance, recorded)


def _requests(sampling: SampledFrom | None, index: int) -> Iterator[Sampling]:
    """How the prompt at `index` of its set is decoded: once greedily, or in each repeat with that request's seed."""
    if sampling is None:
        yield Sampling()
        return
    for repeat in range(sampling.repeats):
        yield sampling.with_seed(request_seed(sampling.seed, index, repeat))
