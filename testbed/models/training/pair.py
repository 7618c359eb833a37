"""The whole training run in order: text, tokenizer, target, drafters, measurement, model card.

Rule: a drafter is distilled from the target exactly as it is shipped (bf16 weights read back into fp32).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from testbed.errors import BadInput
from testbed.models.load import load_model, load_tokenizer, model_hash
from testbed.models.training import card as cards
from testbed.models.training.corpus import read_corpus
from testbed.models.training.distil import distillation_loss, next_token_loss
from testbed.models.training.evaluate import (
    describe_drafter,
    describe_target,
    evaluation_prompts,
    reference_outputs,
)
from testbed.models.training.optimise import Batches, Loss, Trained, new_model, optimise
from testbed.models.training.options import Drafter, Target, TrainingOptions
from testbed.models.training.tokens import Tokens, cut, train_tokenizer

TARGET = "target"


def train(options: TrainingOptions, progress: Callable[[str], None]) -> Path:
    """See `testbed.models.training.train_pair`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        return _train(options, progress)
    finally:
        torch.set_num_threads(threads)


def _train(options: TrainingOptions, progress: Callable[[str], None]) -> Path:
    corpus = read_corpus(options)
    options.out.mkdir(parents=True, exist_ok=True)
    card = cards.new_card(options, corpus)
    previous = cards.read_card(options.out).get("models", {})
    if options.keep_target:
        if TARGET not in previous:
            raise BadInput(f"{options.out}: no trained target to keep; leave out the request to keep it")
        tokenizer = load_tokenizer(str(options.out / TARGET))
        streams = cut(corpus, tokenizer, options)
        trained = previous[TARGET]["trained"]
    else:
        tokenizer = train_tokenizer(corpus, options.vocabulary)
        streams = cut(corpus, tokenizer, options)
        trained = _train_one(TARGET, options.target, next_token_loss, streams, tokenizer, options, progress)
    target = load_model(str(options.out / TARGET)).model.requires_grad_(False)
    prompts = evaluation_prompts(streams, tokenizer, options)
    references = reference_outputs(target, prompts, options)
    card["models"][TARGET] = _entry(options, TARGET, options.target, trained, describe_target(references))
    for drafter in options.drafters:
        loss = distillation_loss(target, drafter.total_variation)
        trained = _train_one(drafter.name, drafter, loss, streams, tokenizer, options, progress)
        shipped = load_model(str(options.out / drafter.name)).model
        measured = describe_drafter(shipped, prompts, references)
        card["models"][drafter.name] = _entry(options, drafter.name, drafter, trained, measured)
        for name, numbers in measured.items():
            progress(f"{drafter.name}: greedy acceptance {numbers['greedy_acceptance']} on {name}")
    cards.write_card(options.out, card)
    return options.out


def _train_one(
    name: str,
    plan: Target | Drafter,
    loss: Loss,
    streams: list[Tokens],
    tokenizer: Any,
    options: TrainingOptions,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Train one model and save it, with its tokenizer, as bf16 in its own folder."""
    model = new_model(plan.shape, options, name)
    progress(f"{name}: {model.num_parameters():,} parameters")
    trained: Trained = optimise(
        model,
        loss,
        Batches(streams, options, name),
        options,
        plan.tokens,
        plan.learning_rate,
        lambda line: progress(f"{name}: {line}"),
    )
    model.to(torch.bfloat16).save_pretrained(options.out / name)
    tokenizer.save_pretrained(options.out / name)
    return dataclasses.asdict(trained)


def _entry(
    options: TrainingOptions, name: str, plan: Target | Drafter, trained: dict[str, Any], measured: dict[str, Any]
) -> dict[str, Any]:
    folder = options.out / name
    settings = {key: value for key, value in dataclasses.asdict(plan).items() if key not in ("name", "shape")}
    return {
        "shape": str(plan.shape),
        "parameters": load_model(str(folder)).parameters,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "sha256": model_hash(str(folder)),
        "settings": settings,
        "trained": trained,
        "measured": measured,
    }
