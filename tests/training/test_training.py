"""Training is reproducible, and what it writes is a pair that loads and explains itself."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch

from testbed.errors import BadInput, MachineCannot
from testbed.models.load import check_same_tokenizer, load_model, model_hash
from testbed.training import Drafter, Shape, Target, TrainingOptions, train_pair
from testbed.training.optimise import new_model
from testbed.training.options import Domain

WORDS = ("the", "old", "miller", "went", "down", "to", "a", "river", "and", "saw", "that", "boat", "stones", "again")


@pytest.fixture
def toy(tmp_path: Path) -> TrainingOptions:
    """A run of about a second."""
    text = tmp_path / "text"
    text.mkdir()
    choose = random.Random(4)
    for name in ("one.txt", "two.txt"):
        (text / name).write_text(" ".join(choose.choices(WORDS, k=3000)))
    return TrainingOptions(
        text=text,
        out=tmp_path / "pair",
        target=Target(Shape(32, 2, 2), tokens=8 * 2 * 64),
        drafters=(
            Drafter("a", Shape(16, 1, 1), tokens=4 * 2 * 64),
            Drafter("b", Shape(16, 1, 2), tokens=4 * 2 * 64),
        ),
        domains=(Domain("story", 1000, 1.0),),
        python_text=False,
        core_book="two.txt",
        vocabulary=300,
        positions=256,
        rows=2,
        row_tokens=64,
        windows=4,
        generate=8,
    )


def quietly(line: str) -> None:
    pass


def hashes(pair: Path) -> dict[str, str]:
    return {name: model_hash(str(pair / name)) for name in ("target", "a", "b")}


@pytest.mark.slow
def test_two_runs_give_the_same_weights_and_another_seed_does_not(toy: TrainingOptions, tmp_path: Path) -> None:
    first = hashes(train_pair(toy, quietly))
    second = hashes(train_pair(dataclasses.replace(toy, out=tmp_path / "second"), quietly))
    other = hashes(train_pair(dataclasses.replace(toy, out=tmp_path / "other", seed=1), quietly))
    assert first == second
    assert all(first[name] != other[name] for name in first)


@pytest.mark.slow
def test_a_drafter_does_not_depend_on_what_was_trained_before_it(toy: TrainingOptions) -> None:
    first = hashes(train_pair(toy, quietly))
    (toy.out / "b" / "model.safetensors").unlink()
    alone = dataclasses.replace(toy, drafters=toy.drafters[1:])
    assert hashes(train_pair(alone, quietly)) == first


def test_reuse_trains_only_what_changed(toy: TrainingOptions) -> None:
    first = hashes(train_pair(toy, quietly))
    longer = dataclasses.replace(toy.drafters[1], tokens=6 * 2 * 64)
    lines: list[str] = []
    changed = dataclasses.replace(toy, reuse=True, drafters=(toy.drafters[0], longer))
    second = hashes(train_pair(changed, lines.append))
    assert [line for line in lines if "kept" in line] == ["target: kept", "a: kept"]
    assert (second["target"], second["a"]) == (first["target"], first["a"]) and second["b"] != first["b"]


def test_the_card_tells_how_the_pair_was_made(toy: TrainingOptions) -> None:
    pair = train_pair(toy, quietly)
    card = json.loads((pair / "card.json").read_text())
    assert [source["name"] for source in card["corpus"]] == ["two.txt", "one.txt"]  # core book first
    assert all(len(source["sha256"]) == 64 for source in card["corpus"])
    assert card["models"]["target"]["trained"]["steps"] == 8
    assert card["models"]["a"]["measured"]["core"]["prompts"] == 4
    assert {name: model["sha256"] for name, model in card["models"].items()} == hashes(pair)
    assert str(toy.text) not in json.dumps(card) and "a:16x1x1:512" in card["command"]
    assert card["models"]["a"]["sha256"][:16] in (pair / "README.md").read_text()


def test_the_weights_are_saved_small_and_the_tokenizer_is_shared(toy: TrainingOptions) -> None:
    pair = train_pair(toy, quietly)
    loaded = load_model(str(pair / "a"))
    weights = (pair / "a" / "model.safetensors").stat().st_size
    assert 2 * loaded.parameters <= weights < 2 * loaded.parameters + 4096  # bf16 and a header
    check_same_tokenizer(str(pair / "target"), str(pair / "a"))


@pytest.mark.slow
def test_training_lowers_the_loss(toy: TrainingOptions) -> None:
    longer = dataclasses.replace(toy, target=Target(Shape(32, 2, 2), tokens=60 * 2 * 64), drafters=())
    card = json.loads((train_pair(longer, quietly) / "card.json").read_text())
    trained = card["models"]["target"]["trained"]
    assert trained["final_loss"] < 0.8 * trained["first_loss"]


def test_a_pytorch_without_the_optimiser_is_refused_before_any_step(
    toy: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(MachineCannot, match=r"has no torch\.optim\.Muon; install 2\.9 or later"):
        new_model(toy.target.shape, toy, "target")


def test_a_folder_without_text_is_refused(toy: TrainingOptions, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no \*\.txt files"):
        train_pair(dataclasses.replace(toy, text=tmp_path / "pair"), quietly)


@pytest.mark.parametrize("text", ["256x5", "axbxc", "0x1x1", "30x2x4"])
def test_an_impossible_shape_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="model shape"):
        Shape.parse(text)
