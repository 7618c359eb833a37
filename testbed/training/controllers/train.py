"""Trains the rejection predictor of a speculation controller; torch is needed here and nowhere else.

Rule kept: table, options and library versions decide the weights: the training is full-batch, in double precision and
on one thread. WISP (arXiv 2601.11652) states a three-layer network; widths, loss, threshold and labels are our choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from testbed.errors import BadInput
from testbed.policies.wisp.classifier import FORMAT, Classifier, Layer, Origin, Weights
from testbed.policies.wisp.features import NAMES, Features
from testbed.tables.table import DecodeTable
from testbed.training.controllers.dataset import Array, Examples, from_every_start, from_rounds, split
from testbed.training.controllers.quality import Quality, Scores, quality, threshold_for

HIDDEN = (64, 32)
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
DIGITS = 7  # of a stored number; the threshold is chosen after rounding

Kind = Literal["mlp", "logistic"]


@dataclass(frozen=True)
class TrainOptions:
    kind: Kind = "mlp"
    seed: int = 0
    recall: float = 0.80  # of accepted tokens: WISP's network has 0.801
    test_share: float = 0.3
    max_draft: int = 16
    epochs: int = 400


@dataclass(frozen=True)
class TrainedController:
    weights: Weights
    test: Quality


def train(
    table: DecodeTable, options: TrainOptions, progress: Callable[[str], None] = lambda _: None
) -> TrainedController:
    """A classifier of one pair's drafts, judged on the prompts held back. BadInput for a table that is too small."""
    train_side, test_side = split(table, options.test_share, options.seed)
    examples = from_every_start(train_side, options.max_draft)
    if examples.accepted.all() or not examples.accepted.any():
        raise BadInput(
            f"decode table {table.name}: the drafter is always right or never right; there is nothing to learn"
        )
    if not np.isfinite(examples.features).all():
        raise BadInput(f"decode table {table.name}: has undefined margins or logit variances; record one with models")
    mean, scale = examples.features.mean(axis=0), examples.features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    layers = _fit((examples.features - mean) / scale, examples, options, progress)
    made_of = table.provenance
    none = Quality(0.0, 0.0, 0.0, 0, 0.0)

    def weights(threshold: float, test: Quality) -> Weights:
        origin = Origin(
            target=made_of.target,
            draft=made_of.draft,
            table=table.name,
            table_sha256=table.sha256,
            prompts=made_of.prompts,
            seed=options.seed,
            train_tokens=len(from_rounds(train_side, options.max_draft)),
            test_tokens=test.tokens,
            false_accept_rate=_short(test.false_accept_rate),
            recall=_short(test.recall),
            auc=_short(test.auc),
        )
        return Weights(
            FORMAT, options.kind, NAMES, _numbers(mean), _numbers(scale), layers, threshold=threshold, origin=origin
        )

    classifier = Classifier(weights(0.5, none))
    judged = from_rounds(train_side, options.max_draft)
    # a draft round is what the threshold is for, so rounds choose it, not every start
    threshold = _short(threshold_for(scores_of(classifier, judged), judged.accepted, options.recall) * (1 - 1e-6))
    held_back = from_rounds(test_side, options.max_draft)
    test = quality(scores_of(classifier, held_back), held_back.accepted, threshold)
    return TrainedController(weights(threshold, test), test)


def evaluate(weights: Weights, table: DecodeTable, max_draft: int) -> Quality:
    """On every prompt of another table, at the threshold the weights have."""
    examples = from_rounds(table.prompts.values(), max_draft)
    return quality(scores_of(Classifier(weights), examples), examples.accepted, weights.threshold)


def scores_of(classifier: Classifier, examples: Examples) -> Scores:
    """One at a time, as a device asks."""
    return np.array([classifier.probability(Features(*row)) for row in examples.features.tolist()])


def _fit(
    standard: Array, examples: Examples, options: TrainOptions, progress: Callable[[str], None]
) -> tuple[Layer, ...]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = torch.Generator().manual_seed(options.seed)
        widths = [standard.shape[1], *(HIDDEN if options.kind == "mlp" else ()), 1]
        parameters: list[tuple[Any, Any]] = []
        for wide, out in pairwise(widths):
            bound = wide**-0.5
            weight = (torch.rand((out, wide), generator=generator, dtype=torch.float64) * 2 - 1) * bound
            parameters.append((weight.requires_grad_(), torch.zeros(out, dtype=torch.float64).requires_grad_()))
        inputs, labels = torch.from_numpy(standard), torch.from_numpy(examples.accepted.astype(np.float64))
        # the smaller class weighs as much as the larger
        rejected_weight = float(examples.accepted.sum() / (~examples.accepted).sum())
        importance = torch.where(labels > 0, 1.0, rejected_weight)
        flat = [one for pair in parameters for one in pair]
        optimiser = torch.optim.AdamW(flat, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for epoch in range(options.epochs):
            value = inputs
            for weight, bias in parameters[:-1]:
                value = torch.relu(value @ weight.T + bias)
            weight, bias = parameters[-1]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                (value @ weight.T + bias)[:, 0], labels, weight=importance
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if epoch % 100 == 99:
                progress(f"epoch {epoch + 1} of {options.epochs}: loss {loss.item():.4f}")
        return tuple(
            Layer(tuple(_numbers(row) for row in weight.detach().numpy()), _numbers(bias.detach().numpy()))
            for weight, bias in parameters
        )
    finally:
        torch.set_num_threads(threads)


def _numbers(values: Array) -> tuple[float, ...]:
    return tuple(_short(value) for value in values.tolist())


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
