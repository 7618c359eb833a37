"""Where an output ends: cut after verification, and count as accepted only what survives the cut."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Cut(msgspec.Struct, frozen=True):
    """What is emitted of one verdict; `final` when the request ends here."""

    tokens: tuple[int, ...]
    accepted: int
    final: bool


def cut(tokens: Sequence[int], accepted: int, remaining: int, eos: int | None) -> Cut:
    """At most `remaining` tokens, ending with the first end-of-sequence token, which is itself emitted."""
    kept = tuple(tokens[:remaining])
    if eos is not None and eos in kept:
        kept = kept[: kept.index(eos) + 1]
    final = len(kept) >= remaining or (eos is not None and kept[-1:] == (eos,))
    return Cut(kept, min(accepted, len(kept)), final)
