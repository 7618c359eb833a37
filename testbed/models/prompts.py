"""Read prompt files: one JSON object a line with `id`, `domain` and `text`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import BadInput


@dataclass(frozen=True)
class Prompt:
    """One prompt as its file gives it."""

    id: str
    domain: str
    text: str


def read_prompts(path: Path) -> list[Prompt]:
    """All prompts of a file, in order; ids must be unique."""
    prompts: list[Prompt] = []
    seen: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompt = Prompt(str(row["id"]), str(row["domain"]), str(row["text"]))
        except (ValueError, KeyError, TypeError):
            raise BadInput(f'{path}:{number}: not a JSON object with "id", "domain" and "text"') from None
        if not prompt.text or prompt.id in seen:
            raise BadInput(f"{path}:{number}: prompt {prompt.id!r} is empty or its id was used before")
        seen.add(prompt.id)
        prompts.append(prompt)
    if not prompts:
        raise BadInput(f"{path}: no prompts; write one JSON object a line")
    return prompts
