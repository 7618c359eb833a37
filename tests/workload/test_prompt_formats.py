"""Prompts of public collections are what their user says first; what cannot be one is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.workload.prompts import load_prompts

NAMES = {"human": "user", "gpt": "assistant"}
TALK = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}, {"from": "human", "value": "Bye"}]
CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
]
ONE = {
    "ShareGPT": {"id": "a", "conversations": TALK},
    "ShareGPT with items": {"id": "a", "items": TALK},
    "ShareGPT, user and assistant": {
        "id": "a",
        "conversations": [{"from": NAMES[t["from"]], "value": t["value"]} for t in TALK],
    },
    "chat messages": {"id": "a", "messages": CHAT},
    "MT-Bench": {"question_id": "a", "category": "writing", "turns": ["Hi", "Bye"], "reference": ["Hello."]},
    "an answer first": {"id": "a", "conversations": [{"from": "gpt", "value": "Welcome"}, *TALK]},
}


def load(tmp_path: Path, text: str, name: str = "p.jsonl"):
    path = tmp_path / name
    path.write_text(text)
    return load_prompts(str(path)).prompts


@pytest.mark.parametrize("form", ONE)
@pytest.mark.parametrize("as_list", [False, True])
def test_the_user_s_words_are_the_prompt(tmp_path: Path, form: str, as_list: bool) -> None:
    text = json.dumps([ONE[form]], indent=2) if as_list else json.dumps(ONE[form]) + "\n"
    (prompt,) = load(tmp_path, text, "p.json" if as_list else "p.jsonl")
    assert (prompt.id, prompt.text, prompt.more_turns) == ("a", "Hi", ("Bye",))


def test_prompts_without_turns_and_numbers_as_ids(tmp_path: Path) -> None:
    rows = [
        {"question_id": 81, "category": "qa", "turns": ["One?"]},
        {"task_id": "HumanEval/0", "prompt": "def f():", "canonical_solution": "pass"},
        {"question": "2 + 2?", "answer": "4"},
        {"instruction": "Sum up.", "input": "A text.", "output": "x"},
        {"id": "ours", "text": "Hello"},
    ]
    found = load(tmp_path, "\ufeff" + "\n\n".join(map(json.dumps, rows)))
    assert [(one.id, one.text) for one in found] == [
        ("81", "One?"), ("HumanEval/0", "def f():"), ("prompt-3", "2 + 2?"), ("prompt-4", "Sum up.\n\nA text."),
        ("ours", "Hello"),
    ]  # fmt: skip
    assert found[0].domain == "qa"


def test_parts_of_one_conversation_keep_apart_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    rows = [ONE["ShareGPT"], {"id": "b", "conversations": []}, ONE["ShareGPT"]]
    assert [one.id for one in load(tmp_path, json.dumps(rows), "p.json")] == ["a", "a#2"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"id": "a", "conversations": [{"from": "dog", "value": "wuff"}]}, r"p.jsonl:1: .*who speaks is 'dog'; human"),
        ({"id": "a", "conversations": [{"from": "human"}]}, r"p.jsonl:1: conversations, entry 1 has no text"),
        ({"id": "a", "conversations": "Hi"}, r"p.jsonl:1: conversations is 'Hi'; a list"),
        ({"id": "a", "conversations": ["Hi"]}, r"p.jsonl:1: conversations, entry 1 is 'Hi'; an object"),
        ({"id": "a", "turns": "Hi"}, r"p.jsonl:1: turns is 'Hi'; a list of texts"),
        ({"id": "a", "prompt": 5}, r"p.jsonl:1: prompt is 5; a text"),
        ({"id": "a", "conversations": []}, r"holds no prompts: in 1 conversations no user says anything"),
        ({"name": "a"}, r"p.jsonl:1: is not a prompt \(needs id and text\)"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, row: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        load(tmp_path, json.dumps(row))
