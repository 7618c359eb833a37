"""Prompts as public collections write them: ShareGPT, MT-Bench and Spec-Bench, HumanEval, GSM8K, chat messages.

Rule kept: a prompt is what its user said first, word for word; what the user said after it are further turns. Answers
that a file holds are left out, since a model's own answers take their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.files.reading import refuse_file
from testbed.files.yamlfile import said

TALKS = ("conversations", "conversation", "items", "messages")
USERS = ("human", "user", "prompter")
OTHERS = ("gpt", "assistant", "chatgpt", "bing", "bard", "system", "tool", "function", "model")
SPEAKER = ("from", "role", "speaker")
WORDS = ("value", "content", "text", "markdown")
IDS = ("id", "question_id", "task_id", "conversation_id", "uid")
TEXTS = ("prompt", "question", "instruction")  # of one prompt without turns
DOMAINS = ("domain", "category", "source", "dataset")


def is_foreign(found: Mapping[str, Any]) -> bool:
    """Whether an object is another collection's, not of `id` and `text`."""
    return "text" not in found and any(key in found for key in ("turns", *TALKS, *TEXTS))


def turns_of(found: Mapping[str, Any], path: Path, line: int) -> tuple[str, ...]:
    """What the user says, one text a turn; none where a conversation has no words of a user. Raises BadInput."""
    if "turns" in found:
        given = found["turns"]
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            refuse_file(path, f"turns is {said(given)}; a list of texts is expected", line)
        return tuple(one for one in given if one.strip())
    for key in TALKS:
        if key in found:
            return _talk(found[key], key, path, line)
    key = next(key for key in TEXTS if key in found)
    if not isinstance(found[key], str):
        refuse_file(path, f"{key} is {said(found[key])}; a text is expected", line)
    more = found.get("input")  # of an instruction, what it is about
    text = found[key] + (f"\n\n{more}" if key == "instruction" and isinstance(more, str) and more else "")
    return (text,) if text.strip() else ()


def id_of(found: Mapping[str, Any], otherwise: str) -> str:
    given = next((found[key] for key in IDS if isinstance(found.get(key), (str, int))), None)
    return otherwise if given is None or given == "" else str(given)


def domain_of(found: Mapping[str, Any]) -> str:
    given = next((found[key] for key in DOMAINS if isinstance(found.get(key), str) and found[key]), None)
    return "any" if given is None else str(given)


def _talk(given: Any, key: str, path: Path, line: int) -> tuple[str, ...]:
    if not isinstance(given, list):
        refuse_file(path, f"{key} is {said(given)}; a list of what was said is expected", line)
    turns = []
    for place, one in enumerate(given, start=1):
        if not isinstance(one, dict):
            refuse_file(path, f"{key}, entry {place} is {said(one)}; an object with from and value is expected", line)
        speaker = next((str(one[name]).lower() for name in SPEAKER if name in one), None)
        if speaker is None or speaker not in (*USERS, *OTHERS):
            refuse_file(
                path, f"{key}, entry {place}: who speaks is {said(speaker)}; {', '.join(USERS)} or "
                f"{', '.join(OTHERS[:3])}, ... is expected", line,
            )  # fmt: skip
        words = next((one[name] for name in WORDS if isinstance(one.get(name), str)), None)
        if words is None:
            refuse_file(path, f"{key}, entry {place} has no text; value or content is expected", line)
        if speaker in USERS and words.strip():
            turns.append(words)
    return tuple(turns)
