"""How a long text is fed where a pass takes only so much."""

from __future__ import annotations


def cut(tokens: int, most: int) -> list[int]:
    """The feeds that `tokens` become where a job says how many one pass takes at most; 0: it does not."""
    if not 0 < most < tokens:
        return [tokens]
    full, rest = divmod(tokens, most)
    return [most] * full + ([rest] if rest else [])
