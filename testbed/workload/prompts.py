"""Prompt sets: JSON lines with `id` and `text`, by name from `workloads/prompts/` or by path."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec

from testbed.files.named import PROMPTS, find
from testbed.files.reading import as_text, decode_json, read_bytes, refuse_file, shown
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import said

MOST_ID = 200


class Prompt(msgspec.Struct, frozen=True):
    """One prompt. Other keys of the line are for readers and are ignored here."""

    id: Annotated[
        str,
        msgspec.Meta(
            description="its name, unique in the set",
            extra_json_schema={"minLength": 1, "maxLength": MOST_ID, "unit": "characters"},
        ),
    ]
    text: Annotated[
        str,
        msgspec.Meta(description="the prompt itself", extra_json_schema={"minLength": 1, "unit": "characters"}),
    ]
    domain: Annotated[str, msgspec.Meta(description="what it is about, for readers")] = "any"


class PromptSet(msgspec.Struct, frozen=True):
    name: str
    prompts: tuple[Prompt, ...]
    sha256: str


def load_prompts(name_or_path: str) -> PromptSet:
    """Raises BadInput, with file and every wrong line, for what is not a prompt set."""
    path = find(name_or_path, PROMPTS)
    content = read_bytes(path)
    prompts: dict[str, Prompt] = {}
    refusals = Refusals(path)
    # by this end of a line alone: others, such as U+2028, may stand inside a prompt
    for number, text in enumerate(as_text(content, path).split("\n"), start=1):
        if text.strip():
            with refusals.one():
                prompt = _prompt(text, path, number)
                if prompt.id in prompts:
                    refuse_file(path, f"id {prompt.id!r} occurs twice", number)
                prompts[prompt.id] = prompt
    refusals.settle()
    if not prompts:
        refuse_file(path, "holds no prompts")
    return PromptSet(
        path.name.removesuffix(PROMPTS.suffix), tuple(prompts.values()), hashlib.sha256(content).hexdigest()
    )


def _prompt(text: str, path: Path, number: int) -> Prompt:
    """Of one line."""
    prompt = decode_json(text, path, Prompt, "a prompt (needs id and text)", line=number)
    if not prompt.id or len(prompt.id) > MOST_ID or shown(prompt.id) != prompt.id:
        refuse_file(path, f"id {said(prompt.id)} must be 1 to {MOST_ID} characters without control characters", number)
    if not prompt.text:
        refuse_file(path, f"the text of {prompt.id!r} is empty", number)
    return prompt
