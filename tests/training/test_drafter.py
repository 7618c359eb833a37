"""A drafter from a model's own answers: it learns what the model says, and is measured on what is new."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from testbed.models.load import check_same_tokenizer, load_model
from testbed.models.passes import passes_of
from testbed.models.reference import target_only
from testbed.training import drafter, outputs
from testbed.training.drafter import EMBEDDING_RMS, begun, make, stream
from testbed.training.options import Drafter, Shape, TrainingOptions
from testbed.training.outputs import Output, answers, read_outputs, write_outputs
from testbed.training.questions import FORMS, TOPICS, training_questions
from testbed.workload.prompts import load_prompts


def quietly(line: str) -> None:
    pass


def test_no_prompt_of_the_shipped_set_is_trained_on() -> None:
    asked = training_questions()
    assert len(set(asked)) == len(asked) == len(FORMS) * len(TOPICS)
    for prompt in load_prompts("questions").prompts:
        assert prompt.text not in asked and not any(topic in prompt.text for topic in TOPICS)


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 3])
def test_answers_are_the_models_greedy_ones_however_many_are_decoded_at_once(together: int) -> None:
    loaded = load_model("tiny-draft", threads=1)
    runtime = passes_of(loaded.model).runtime()
    prompts = [[5, 6, 7], [9] * 20, [100, 3], [7]]
    ends = (target_only(runtime, prompts[2], 4).tokens[3],)  # so that one of them ends early
    found = {tuple(one.prompt): tuple(one.answer) for one in answers(runtime, prompts, 12, ends, together)}
    for prompt in prompts:
        assert found[tuple(prompt)] == target_only(runtime, prompt, 12, eos=ends).tokens
    assert len(found[100, 3]) <= 4


@pytest.mark.slow
def test_a_drafter_is_made_from_answers_and_measured_on_new_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "training_questions", lambda: [f"The miller said {one}" for one in range(24)])
    path = tmp_path / "answers.jsonl"
    said = write_outputs("tiny-target", path, 24, 8, 1e9, quietly)
    assert said == sum(len(one.answer) for one in read_outputs(path)) and len(read_outputs(path)) == 24
    prompts = tmp_path / "new.jsonl"
    prompts.write_text(json.dumps({"id": "one", "text": "The miller said nothing"}) + "\n")
    plan = Drafter("draft", Shape(16, 1, 1), 4 * 1024, 3e-3)
    folder = make("tiny-target", path, tmp_path / "pair", plan, prompts, 0, quietly)
    card = json.loads((folder / "card.json").read_text())
    assert card["measured"]["new"]["prompts"] == 1 and card["trained"]["steps"] == 4
    check_same_tokenizer("tiny-target", str(folder))
    assert load_model(str(folder)).ends == load_model("tiny-target").ends


@pytest.mark.slow
def test_one_command_asks_the_model_itself_unless_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "training_questions", lambda: ["The miller said", "Once upon a time"] * 6)
    prompts = tmp_path / "new.jsonl"
    prompts.write_text(json.dumps({"id": "one", "text": "The miller said nothing"}) + "\n")
    command = ["--target", "tiny-target", "--out", str(tmp_path / "pair"), "--drafter", "draft:16x1x1:1024"]
    drafter.main([*command, "--prompts", str(prompts)])
    asked = (tmp_path / "pair" / drafter.ANSWERS).read_bytes()
    assert len(asked.splitlines()) == 12 and (tmp_path / "pair" / "draft" / "card.json").is_file()
    monkeypatch.setattr(drafter, "write_outputs", None)
    drafter.main([*command, "--prompts", str(prompts)])
    assert (tmp_path / "pair" / drafter.ANSWERS).read_bytes() == asked


def test_embeddings_begin_as_the_models_strongest_directions() -> None:
    target = load_model("tiny-target", threads=1).model
    options = TrainingOptions(text=Path(), out=Path(), vocabulary=2048, positions=64)
    table = begun(target, Drafter("draft", Shape(64, 1, 1)), options).get_input_embeddings().weight.detach()
    assert table.pow(2).mean().sqrt() == pytest.approx(EMBEDDING_RMS, rel=1e-3)
    whole = target.get_input_embeddings().weight.detach()
    ours, theirs = (torch.nn.functional.normalize(one[:200], dim=1) for one in (table, whole))
    likeness = np.corrcoef((ours @ ours.T).ravel(), (theirs @ theirs.T).ravel())[0, 1]
    assert likeness > 0.6


def test_the_last_answers_are_not_learned_from() -> None:
    tokens = stream([Output([number], [number, number]) for number in range(100)])
    assert set(tokens.core) == set(range(97)) and tokens.held_out.tolist() == [99, 99, 99]
