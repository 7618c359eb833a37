"""Where an output ends: cut after verification, and count as accepted only what survives the cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec


class Cut(msgspec.Struct, frozen=True):
    """What is emitted of one verdict; `final` when the request ends here."""

    tokens: tuple[int, ...]
    accepted: int
    final: bool


def cut(tokens: Sequence[int], accepted: int, remaining: int, eos: Collection[int]) -> Cut:
    """At most `remaining` tokens, ending with the first that `eos` holds, which is itself emitted."""
    kept = ended(tuple(tokens[:remaining]), eos)
    final = len(kept) >= remaining or (bool(kept) and kept[-1] in eos)
    return Cut(kept, min(accepted, len(kept)), final)


def ended(tokens: tuple[int, ...], eos: Collection[int]) -> tuple[int, ...]:
    """The tokens up to the first that ends an output, that one included; all of them where none does."""
    if eos:
        for at, token in enumerate(tokens):
            if token in eos:
                return tokens[: at + 1]
    return tokens
