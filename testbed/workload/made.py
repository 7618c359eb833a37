"""Prompts of any length, made of the text at hand: a prompt of the set, and as much of the set after it as is needed.

Rule kept: a made prompt follows from its name alone (`made_id`), in every process and both engines.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.errors import BadInput

MARK = "+"


def made_id(prompt_id: str, tokens: int) -> str:
    """The name of the prompt with so many tokens that begins with this one of the set."""
    return f"{prompt_id}{MARK}{tokens}"


def parts_of(name: str) -> tuple[str, int] | None:
    """Where a made prompt begins and how long it is; None for any other name."""
    prompt_id, mark, tokens = name.rpartition(MARK)
    return (prompt_id, int(tokens)) if mark and tokens.isascii() and tokens.isdigit() else None


class Text:
    """The tokens of a prompt set, one prompt after another, from the beginning again at its end."""

    def __init__(self, prompts: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self._starts: dict[str, int] = {}
        tokens: list[int] = []
        for name, own in prompts:
            self._starts[name] = len(tokens)
            tokens += own
        if not tokens:
            raise BadInput("workload.prompts: all prompts are empty after tokenization, so none can be made of them")
        self._tokens = tuple(tokens)
        self._made: dict[str, tuple[int, ...]] = {}

    def tokens(self, name: str) -> tuple[int, ...]:
        """Of a made prompt. KeyError for one that begins nowhere here."""
        if name not in self._made:
            parts = parts_of(name)
            if parts is None:
                raise KeyError(name)
            start, count = self._starts[parts[0]], parts[1]
            turns = (start + count - 1) // len(self._tokens) + 1
            self._made[name] = (self._tokens * turns)[start : start + count]
        return self._made[name]
