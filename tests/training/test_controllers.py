"""Training a rejection predictor: labels stop at the first rejection, prompts keep to their side, seeds decide all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest

from testbed.cli.main import app
from testbed.errors import BadInput
from testbed.policies.wisp.classifier import Classifier, read_weights
from testbed.tables.table import DecodeTable, PromptTable, Provenance, make_table
from testbed.training.controllers.dataset import from_every_start, from_rounds, split
from testbed.training.controllers.quality import auc, quality, threshold_for
from testbed.training.controllers.report import train_to_file
from testbed.training.controllers.train import TrainOptions, evaluate, scores_of, train
from tests.table_examples import ONE, tiny_table

LENGTH = 30
QUICK = TrainOptions(epochs=60, max_draft=8)


def informative(count: int, seed: int, name: str = "made") -> DecodeTable:
    """A drafter that is sure where it is right, mostly; the target says 10, a wrong draft is 11."""
    random = Random(seed)

    def one() -> PromptTable:
        right = [random.random() < 0.75 for _ in range(LENGTH + 1)]
        sure = [random.uniform(0.35, 1.0) if ok else random.uniform(0.0, 0.65) for ok in right]
        drafts = tuple((10 if ok else 11,) for ok in right)
        return PromptTable(
            prompt=(1, 2), tokens=(10,) * LENGTH, entropies=(0.1,) * LENGTH, top2_gaps=(1.0,) * LENGTH,
            top_tokens=drafts, top_probabilities=tuple((value,) for value in sure),
            margins=tuple(value * 0.8 for value in sure), logit_variances=tuple(random.random() for _ in sure),
            rollout_tokens=drafts, rollout_entropies=tuple((2.0 * (1 - value),) for value in sure),
            rollout_confidences=tuple((value,) for value in sure),
        )  # fmt: skip

    made_of = Provenance(
        target="t", draft="d", prompts="p", depth=1, output_tokens=LENGTH, eos=None, second_choice=False
    )
    return make_table(name, made_of, {f"p{number}": one() for number in range(count)})


def test_a_draft_counts_up_to_its_first_rejection() -> None:
    """The drafter is right, wrong, right: from 0 that counts right, wrong; from 1 wrong; from 2 right."""
    every = from_every_start([ONE], max_draft=5)
    assert every.accepted.tolist() == [True, False, False, True]
    assert every.features.tolist() == [
        [0.9, 0.5, 0.85, 1.0, 0], [0.5, 0.6, 0.1, 2.0, 1], [0.5, 0.6, 0.1, 2.0, 0], [0.8, 0.7, 0.7, 3.0, 0],
    ]  # fmt: skip
    # rounds: the first emits the draft and the correction, so the next begins at 2
    assert from_rounds([ONE], max_draft=5).accepted.tolist() == [True, False, True]
    assert from_every_start([ONE], max_draft=1).accepted.tolist() == [True, False, True]


def test_prompts_stay_on_one_side_of_the_split() -> None:
    table = informative(10, 1)
    train_side, test_side = split(table, 0.3, seed=4)
    assert (len(train_side), len(test_side)) == (7, 3)
    assert not {id(one) for one in train_side} & {id(one) for one in test_side}
    assert [id(one) for one in split(table, 0.3, seed=4)[1]] == [id(one) for one in test_side]
    with pytest.raises(BadInput, match="leaves one side empty"):
        split(tiny_table(), 0.1, seed=0)


def test_rates_are_those_of_the_classes() -> None:
    scores = np.array([0.9, 0.8, 0.4, 0.7, 0.1])
    accepted = np.array([True, True, True, False, False])
    found = quality(scores, accepted, threshold=0.6)
    assert (found.false_accept_rate, found.recall, found.tokens) == (0.5, pytest.approx(2 / 3), 5)
    assert found.auc == pytest.approx(5 / 6)  # of six pairs only (0.4, 0.7) is the wrong way round
    assert auc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    with pytest.raises(BadInput, match="same label"):
        quality(scores, np.ones(5, dtype=bool), 0.5)


def test_the_threshold_is_the_largest_that_keeps_the_recall() -> None:
    scores = np.linspace(0.0, 1.0, 101)
    accepted = np.ones(101, dtype=bool)
    for recall in (0.5, 0.8, 0.93, 1.0):
        threshold = threshold_for(scores, accepted, recall)
        assert (scores >= threshold).mean() >= recall > (scores > threshold).mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "logistic"])
def test_a_predictor_learns_what_confidence_tells_and_keeps_its_recall(kind: str) -> None:
    trained = train(informative(150, 1), replace(QUICK, kind=kind))  # type: ignore[arg-type]
    # U(0.35, 1) against U(0, 0.65): the threshold for 0.8 is 0.48, which 17 of 65 wrong ones pass; AUC 0.893
    assert trained.test.recall == pytest.approx(0.80, abs=0.06)
    assert trained.test.false_accept_rate == pytest.approx(0.26, abs=0.08)
    assert trained.test.auc == pytest.approx(0.893, abs=0.03)
    assert evaluate(trained.weights, informative(100, 2), 8).auc == pytest.approx(0.893, abs=0.03)


def test_the_run_time_s_arithmetic_is_that_of_the_training() -> None:
    """What numpy answers is what torch was trained to answer: the same network, features standardised inside."""
    import torch

    table = informative(12, 3)
    weights = train(table, QUICK).weights
    examples = from_rounds(table.prompts.values(), 8)
    value = torch.tensor((examples.features - np.array(weights.mean)) / np.array(weights.scale))
    for layer in weights.layers[:-1]:
        value = torch.relu(value @ torch.tensor(layer.weights, dtype=torch.float64).T + torch.tensor(layer.biases))
    last = weights.layers[-1]
    value = value @ torch.tensor(last.weights, dtype=torch.float64).T + torch.tensor(last.biases)
    assert scores_of(Classifier(weights), examples) == pytest.approx(torch.sigmoid(value)[:, 0].numpy(), abs=1e-6)
    assert [len(layer.biases) for layer in weights.layers] == [64, 32, 1]


def test_one_seed_one_file(tmp_path: Path) -> None:
    table = tmp_path / "made.parquet"
    informative(10, 5).write(table)
    files = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        rows = train_to_file(str(table), file, TrainOptions(seed=seed, epochs=20, max_draft=8), [str(table)])
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert [row.predictor for row in rows] == ["mlp", "confidence", "entropy", "mlp"]
    read, _ = read_weights(str(files[0]))
    assert read.origin.table == "made" and read.origin.seed == 0 and read.origin.test_tokens > 20


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    sure = informative(5, 1)
    right = {
        key: msgspec.structs.replace(one, rollout_tokens=((10,),) * (LENGTH + 1)) for key, one in sure.prompts.items()
    }
    with pytest.raises(BadInput, match="there is nothing to learn"):
        train(make_table("right", sure.provenance, right), QUICK)
    undefined = {
        key: msgspec.structs.replace(one, logit_variances=(float("nan"),) * (LENGTH + 1))
        for key, one in sure.prompts.items()
    }
    with pytest.raises(BadInput, match="undefined"):
        train(make_table("undefined", sure.provenance, undefined), QUICK)
    for out, message in ((tmp_path / "x.bin", "give it that suffix"), (tmp_path / "no" / "x.json", "create it first")):
        with pytest.raises(BadInput, match=message):
            train_to_file("tiny-prose", out, QUICK)


def test_the_command_prints_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "made.parquet"
    informative(10, 5).write(table)
    app(
        ["models", "train-controller", str(table), "--kind", "logistic", "--out", str(tmp_path / "c.json"), "--json"],
        standalone_mode=False,
    )
    rows = json.loads(capsys.readouterr().out)["predictors"]
    assert rows[0]["predictor"] == "logistic" and 0 <= rows[0]["false_accept_rate"] <= 1
