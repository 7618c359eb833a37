"""Drafts that the target has no row for: a pair may have vocabularies of different size, and ids travel as they are.

Rule kept: such a draft is a refused draft. The target never chooses it, so whatever is fed in its place decides
nothing: what follows a refused draft is not looked at, and the next pass feeds another token there.
"""

from __future__ import annotations

from collections.abc import Sequence

STAND_IN = 0


def within(tokens: Sequence[int], drafts: int, rows: int | None) -> list[int]:
    """The tokens to feed: of the last `drafts`, those outside the target's `rows` have a stand-in."""
    text = len(tokens) - drafts
    if rows is None or not drafts or max(tokens[text:]) < rows:
        return list(tokens)
    return [*tokens[:text], *(token if token < rows else STAND_IN for token in tokens[text:])]
