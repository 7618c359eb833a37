"""Prompt sets: JSON lines with `id` and `text`, by name from `workloads/prompts/` or by path.

Files of public collections are read as well (`prompt_formats`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from testbed.errors import BadInput
from testbed.files.named import PROMPTS, find
from testbed.files.reading import as_text, decode_json, read_bytes, refuse_file, shown
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import said
from testbed.workload.jsonobjects import objects
from testbed.workload.prompt_formats import domain_of, id_of, is_foreign, turns_of

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
    more_turns: Annotated[
        tuple[str, ...], msgspec.Meta(description="what its user says next, of a conversation of several turns")
    ] = ()


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
    without = 0
    for number, found in _entries(as_text(content, path), path):
        with refusals.one():
            prompt = _prompt(found, path, number) if isinstance(found, str) else _foreign(found, path, number, prompts)
            if prompt is None:
                without += 1
                continue
            if prompt.id in prompts:
                refuse_file(path, f"id {prompt.id!r} occurs twice", number)
            prompts[prompt.id] = prompt
    refusals.settle()
    if not prompts:
        refuse_file(
            path, "holds no prompts" + (f": in {without} conversations no user says anything" if without else "")
        )
    return PromptSet(
        path.name.removesuffix(PROMPTS.suffix), tuple(prompts.values()), hashlib.sha256(content).hexdigest()
    )


def _entries(text: str, path: Path) -> Iterator[tuple[int, str | dict[str, Any]]]:
    """With its line, each line as it is if it is one of ours, or an object of another collection."""
    if text.lstrip().startswith("["):
        yield from objects(path, text)
        return
    # by this end of a line alone: others, such as U+2028, may stand inside a prompt
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _if_foreign(line, path) or line


def _if_foreign(line: str, path: Path) -> dict[str, Any] | None:
    try:
        found = decode_json(line, path)
    except BadInput:  # it is said where it is read as one of ours
        return None
    return found if isinstance(found, dict) and is_foreign(found) else None


def _foreign(found: dict[str, Any], path: Path, number: int, before: Mapping[str, Prompt]) -> Prompt | None:
    """Of another collection's object; None if its user says nothing."""
    if not is_foreign(found):
        return _prompt(json.dumps(found), path, number)
    turns = turns_of(found, path, number)
    if not turns:
        return None
    # collections number one part of a conversation like another; its place tells them apart
    name = id_of(found, f"prompt-{len(before) + 1}")
    if name in before:
        name = f"{name}#{len(before) + 1}"
    return _checked(Prompt(name, turns[0], domain_of(found), turns[1:]), path, number)


def _prompt(text: str, path: Path, number: int) -> Prompt:
    """Of one line."""
    return _checked(decode_json(text, path, Prompt, "a prompt (needs id and text)", line=number), path, number)


def _checked(prompt: Prompt, path: Path, number: int) -> Prompt:
    if not prompt.id or len(prompt.id) > MOST_ID or shown(prompt.id) != prompt.id:
        refuse_file(path, f"id {said(prompt.id)} must be 1 to {MOST_ID} characters without control characters", number)
    if not prompt.text:
        refuse_file(path, f"the text of {prompt.id!r} is empty", number)
    return prompt
