"""Prompt sets: JSON lines with `id` and `text`, by name from `workloads/prompts/` or by path."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from testbed.errors import BadInput
from testbed.repository import available
from testbed.yamlfile import nearest

SUFFIX = ".jsonl"


class Prompt(msgspec.Struct, frozen=True):
    """One prompt. Other keys of the line are for readers and are ignored here."""

    id: str
    text: str
    domain: str = "any"


class PromptSet(msgspec.Struct, frozen=True):
    name: str
    prompts: tuple[Prompt, ...]
    sha256: str


def load_prompts(name_or_path: str) -> PromptSet:
    """Raises BadInput, with file and line, for what is not a prompt set."""
    if "/" in name_or_path or name_or_path.endswith(SUFFIX):
        path = Path(name_or_path)
    else:
        known = available("workloads/prompts", SUFFIX)
        if name_or_path not in known:
            raise BadInput(f"prompt set {name_or_path!r} is not in workloads/prompts/{nearest(name_or_path, known)}")
        path = known[name_or_path]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    prompts: dict[str, Prompt] = {}
    for number, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        try:
            prompt = msgspec.json.decode(text, type=Prompt)
        except msgspec.MsgspecError as error:
            raise BadInput(f"{path}:{number}: not a prompt (needs id and text): {error}") from error
        if prompt.id in prompts:
            raise BadInput(f"{path}:{number}: id {prompt.id!r} occurs twice")
        if not prompt.text:
            raise BadInput(f"{path}:{number}: the text of {prompt.id!r} is empty")
        prompts[prompt.id] = prompt
    if not prompts:
        raise BadInput(f"{path}: holds no prompt")
    return PromptSet(path.name.removesuffix(SUFFIX), tuple(prompts.values()), hashlib.sha256(content).hexdigest())
