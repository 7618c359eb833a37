"""The whole training run in order: text, tokenizer, target, drafters, measurement, model card.

Rule: a drafter is distilled from the target exactly as it is shipped (bf16 weights read back into fp32).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from testbed.models.load import load_model, load_tokenizer, model_hash
from testbed.training import card as cards
from testbed.training.corpus import read_corpus
from testbed.training.distil import distillation_loss, next_token_loss
from testbed.training.evaluate import (
    describe_drafter,
    describe_target,
    evaluation_prompts,
    reference_outputs,
)
from testbed.training.optimise import Batches, Loss, new_model, optimise
from testbed.training.options import Drafter, Target, TrainingOptions
from testbed.training.tokens import cut, train_tokenizer

TARGET = "target"


def train(options: TrainingOptions, progress: Callable[[str], None]) -> Path:
    """See `testbed.training.train_pair`."""
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
    kept = _kept(options)
    tokenizer = (
        load_tokenizer(str(options.out / TARGET)) if TARGET in kept else train_tokenizer(corpus, options.vocabulary)
    )
    streams = cut(corpus, tokenizer, options)

    def make(name: str, plan: Target | Drafter, loss: Loss) -> dict[str, Any]:
        """Train one model unless it is kept, and save it, with its tokenizer, as bf16 in its own folder."""
        if name in kept:
            progress(f"{name}: kept")
            return dict(kept[name])
        model = new_model(plan.shape, options, name)
        progress(f"{name}: {model.num_parameters():,} parameters")
        batches = Batches(streams, options, name)
        trained = optimise(
            model, loss, batches, options, plan.tokens, plan.learning_rate, lambda line: progress(f"{name}: {line}")
        )
        model.to(torch.bfloat16).save_pretrained(options.out / name)
        tokenizer.save_pretrained(options.out / name)
        for weights in (options.out / name).glob("*.safetensors"):
            weights.chmod(0o644)  # safetensors writes them for the owner only
        return dataclasses.asdict(trained)

    trained = make(TARGET, options.target, next_token_loss)
    target = load_model(str(options.out / TARGET)).model.requires_grad_(False)
    prompts = evaluation_prompts(streams, tokenizer, options)
    references = reference_outputs(target, prompts, options)
    card["models"][TARGET] = _entry(options, TARGET, options.target, trained, describe_target(references))
    for drafter in options.drafters:
        loss = distillation_loss(target, drafter.total_variation)
        trained = make(drafter.name, drafter, loss)
        shipped = load_model(str(options.out / drafter.name)).model
        measured = describe_drafter(shipped, prompts, references)
        card["models"][drafter.name] = _entry(options, drafter.name, drafter, trained, measured)
        for name, numbers in measured.items():
            progress(f"{drafter.name}: greedy acceptance {numbers['greedy_acceptance']} on {name}")
    cards.write_card(options.out, card)
    return options.out


def _kept(options: TrainingOptions) -> dict[str, dict[str, Any]]:
    """What the existing card says of the training of each model that need not be trained again."""
    if not options.reuse:
        return {}
    card = cards.read_card(options.out)
    if card.get("recipe", {}).get("seed") != options.seed:
        return {}
    plans: dict[str, Target | Drafter] = {drafter.name: drafter for drafter in options.drafters}
    plans[TARGET] = options.target
    return {
        name: model["trained"]
        for name, model in card["models"].items()
        if name in plans and (model["shape"], model["settings"]) == (str(plans[name].shape), _settings(plans[name]))
    }


def _settings(plan: Target | Drafter) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(plan).items() if key not in ("name", "shape")}


def _entry(
    options: TrainingOptions, name: str, plan: Target | Drafter, trained: dict[str, Any], measured: dict[str, Any]
) -> dict[str, Any]:
    folder = options.out / name
    return {
        "shape": str(plan.shape),
        "parameters": load_model(str(folder)).parameters,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "sha256": model_hash(str(folder)),
        "settings": _settings(plan),
        "trained": trained,
        "measured": measured,
    }
