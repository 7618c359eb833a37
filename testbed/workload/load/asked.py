"""One request of a load: when it comes and how many tokens it has. What traces hold and generators make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Asked(NamedTuple):
    """`at_s` counts from the beginning of the load."""

    at_s: float
    input_tokens: int
    output_tokens: int
    session: str | None = None  # requests of one session are turns of one conversation
    known_tokens: int = 0  # leading ones of the input that earlier requests of the trace had, too
    # What its input is made of where others of the trace begin like it: numbers of texts, and tokens of each. Inputs
    # that begin with the same numbers and lengths begin alike. Empty: no other input begins like this one.
    text: tuple[tuple[int, int], ...] = ()


def begun(text: Sequence[tuple[int, int]], tokens: int) -> tuple[tuple[int, int], ...]:
    """The first tokens of a text."""
    found: list[tuple[int, int]] = []
    for number, length in text:
        if tokens <= 0:
            break
        found.append((number, min(length, tokens)))
        tokens -= length
    return tuple(found)


@dataclass(frozen=True)
class Trace:
    """A checked file of requests, earliest first. `about` is what a reader should know of how it was read."""

    name: str
    format: str
    requests: tuple[Asked, ...]
    sha256: str
    starts: str | None  # the time of day of its first request, where the file has times of day
    about: Mapping[str, str]

    @property
    def seconds(self) -> float:
        """From the first request to a mean gap after the last, when it may start again."""
        return self.requests[-1].at_s * len(self.requests) / max(1, len(self.requests) - 1)
