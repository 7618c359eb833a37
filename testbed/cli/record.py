"""What `testbed record` does: checks where the table is to go before time is spent, records, writes, describes it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from pydantic import ValidationError

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import SamplingOptions
from testbed.files.named import TABLE
from testbed.files.named import experiment as experiment_file
from testbed.files.whole import check_file
from testbed.models.facts import tokenizer_of
from testbed.tables.record import Asked, Progress, record
from testbed.tables.table import DecodeTable, SampledFrom, output_key
from testbed.workload.prompts import load_prompts


def record_to_file(
    target: str,
    draft: str,
    prompts: str,
    output_tokens: int,
    depth: int,
    out: Path,
    ignore_eos: bool = False,
    second_choice: bool = True,
    progress: Progress = lambda _: None,
    sampling: SampledFrom | None = None,
) -> str:
    """Record the pair over a prompt set into `out`; returns what there is to say about it."""
    _check_out(out)
    name = out.name.removesuffix(TABLE.suffix)
    table = record(
        target, draft, load_prompts(prompts), output_tokens, depth, ignore_eos, progress, second_choice, name, sampling
    )
    table.write(out)
    return f"{out}: {describe(table)}, {out.stat().st_size} bytes"


def record_experiment(experiment: str, depth: int, out: Path, second_choice: bool, progress: Progress) -> str:
    """Record what the requests of an experiment need into `out`: its pair on its prompts, or on those of its load."""
    scenario = load_scenario(experiment_file(experiment))
    workload, models = scenario.workload, scenario.models
    law = workload.sampling
    sampling = (
        sampled_from(law.temperature, law.top_k, law.top_p, scenario.seed, scenario.repeats)
        if law.temperature
        else None
    )
    if workload.load is None and workload.sessions is None:
        return record_to_file(
            models.target, models.draft, workload.prompts, workload.output_tokens, depth, out,
            workload.ignore_eos, second_choice, progress, sampling,
        )  # fmt: skip
    _check_out(out)
    found = resolve(scenario)
    encode = tokenizer_of(models.target).encode
    longest: dict[str, Asked] = {}
    for repeat in range(scenario.repeats):
        for one in found.plan(encode, (), 1, repeat):
            key = output_key(one.prompt_id, one.sampling)
            if key not in longest or longest[key].output_tokens < one.max_tokens:
                drawn = one.sampling if sampling is not None else Sampling()
                longest[key] = Asked(one.prompt_id, one.prompt, one.max_tokens, drawn)
    table = record(
        models.target, models.draft, found.prompts, workload.output_tokens, depth, workload.ignore_eos, progress,
        second_choice, out.name.removesuffix(TABLE.suffix), sampling, list(longest.values()), workload.load or "",
    )  # fmt: skip
    table.write(out)
    return f"{out}: {describe(table)}, {out.stat().st_size} bytes"


def _check_out(out: Path) -> None:
    if out.suffix != TABLE.suffix:
        raise BadInput(f"--out {out}: a decode table is a {TABLE.suffix} file; give it that suffix")
    check_file(out)


def sampled_from(temperature: float, top_k: int, top_p: float, seed: int, repeats: int) -> SampledFrom | None:
    """What the command line asks for; None is greedy. BadInput for what an experiment file would refuse, too."""
    try:
        SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][0]).replace("_", "-")
        raise BadInput(f"--{name} {detail['input']}: {detail['msg'].replace('Input should', 'it should')}") from error
    if temperature > 0:
        return SampledFrom(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, repeats=repeats)
    if (top_k, top_p, seed, repeats) != (0, 1.0, 0, 1):
        raise BadInput("--top-k, --top-p, --seed and --repeats have no effect in greedy decoding; set --temperature")
    return None


def describe(table: DecodeTable) -> str:
    """Size, agreement and identity in one line."""
    tokens = sum(len(one.tokens) for one in table.prompts.values())
    matches = sum(one.matched(at) > 0 for one in table.prompts.values() for at in range(len(one.tokens)))
    made = table.provenance.sampling
    drawn = "" if made is msgspec.UNSET else f"sampled with seed {made.seed}, {made.repeats} repeats, "
    return (
        f"{len(table.prompt_tokens)} prompts, {drawn}{tokens} output tokens, depth {table.depth}, the drafter agrees "
        f"at {100 * matches / tokens:.1f} %, sha256 {table.sha256[:12]}"
    )
