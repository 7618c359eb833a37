"""Prompts of any length, made of the text at hand: a prompt of the set, and as much of the set after it as is needed.

Prompts that share a beginning are made of pieces: those of the text that they share, then their own. A mark makes the
first tokens of a piece its own, so that no other text begins like it by chance.

Rule kept: a made prompt follows from its name alone, in every process and both engines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from testbed.errors import BadInput

LENGTH = "+"
BETWEEN = ";"
MARKED = 3  # tokens that a mark takes: enough for any number of texts, and few beside a text

_PIECE = re.compile(r"(.*?)(?:#([0-9]+))?\+([0-9]+)", re.DOTALL)
_END = re.compile(r"(?<=\+)[0-9]+(?:;|\Z)")


class Piece(NamedTuple):
    """So many tokens from the beginning of a prompt of the set on."""

    prompt_id: str
    tokens: int
    mark: int | None = None

    @property
    def name(self) -> str:
        mark = "" if self.mark is None else f"#{self.mark}"
        return f"{self.prompt_id}{mark}{LENGTH}{self.tokens}"


def made_id(*pieces: Piece) -> str:
    """The name of the prompt that is made of these."""
    return BETWEEN.join(piece.name for piece in pieces)


def pieces_of(name: str) -> tuple[Piece, ...] | None:
    """What a made prompt is made of; None for any other name."""
    pieces, at = [], 0
    for end in _END.finditer(name):
        found = _PIECE.fullmatch(name[at : end.end()].rstrip(BETWEEN))
        if found is None:
            return None
        pieces.append(Piece(found[1], int(found[3]), None if found[2] is None else int(found[2])))
        at = end.end()
    return tuple(pieces) if pieces and at == len(name) and not name.endswith(BETWEEN) else None


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
        self._digits = sorted(set(tokens))
        self._made: dict[str, tuple[int, ...]] = {}

    def tokens(self, name: str) -> tuple[int, ...]:
        """Of a made prompt. KeyError for one that begins nowhere here."""
        if name not in self._made:
            pieces = pieces_of(name)
            if pieces is None:
                raise KeyError(name)
            self._made[name] = tuple(token for piece in pieces for token in self._piece(piece))
        return self._made[name]

    def _piece(self, piece: Piece) -> tuple[int, ...]:
        start, count = self._starts[piece.prompt_id], piece.tokens
        turns = (start + count - 1) // len(self._tokens) + 1
        found = (self._tokens * turns)[start : start + count]
        return found if piece.mark is None else (*self._marked(piece.mark), *found)[:count]

    def _marked(self, number: int) -> list[int]:
        """The number in digits that are tokens of the text, the last one first."""
        digits = []
        for _ in range(MARKED):
            number, digit = divmod(number, len(self._digits))
            digits.append(self._digits[digit])
        return digits
