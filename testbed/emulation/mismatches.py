"""Where an output first left what it should have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Mismatch(NamedTuple):
    """A gap near 1e-5 is a tie in fp32, a larger one is a defect."""

    policy: str
    request: int
    prompt_id: str
    output_position: int
    top2_gap: float | None  # None: one output is a prefix of the other, or no model ran


def first_difference(tokens: Sequence[int], expected: Sequence[int]) -> int:
    """The first position at which they differ; if one is a prefix of the other, its end."""
    pairs = zip(tokens, expected, strict=False)
    return next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(tokens), len(expected)))
