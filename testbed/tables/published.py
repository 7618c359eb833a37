"""How often drafts of known pairs were accepted, as published, and the made-up outcomes that follow from it.

Two kinds of figures are published. A *mean length* L of k drafts, the token that comes with each verdict included,
gives one rate a for all prompts: L = (1 - a^(k+1)) / (1 - a). *Rates by place*, the shares of rounds in which the
first, the first two, the first three ... drafts were accepted, are the moments of the rate where it differs from prompt
to prompt, so the first two give a Beta law; how well the law meets the other places is a test of it. Prompts with a low
rate have more rounds, so such a law leans to them. Only figures are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """One pair on one kind of text. Either `length` of `drafts`, or `places`."""

    what: str
    source: str
    length: float | None = None
    drafts: int | None = None
    places: tuple[float, ...] = ()

    @property
    def law(self) -> float | tuple[float, float]:
        """One rate, or alpha and beta of the rate's law over prompts."""
        if self.length is None or self.drafts is None:
            return beta_of(self.places[0], self.places[1])
        return rate_of(self.length, self.drafts)


SPECULATORS = "github.com/vllm-project/speculators/issues/563, comment of 2026-06-08, acceptance lengths at k = 3"
SPARK = "github.com/eugr/spark-vllm-docker/issues/350, comment of 2026-08-28, acceptance by position"
_EAGLE3 = "Qwen3-8B with an EAGLE-3 head, vLLM, temperature 0.6"
_DFLASH = "Qwen3.8-27B, one user's requests, vLLM"

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "qwen3-8b-eagle3-coding": Published(f"{_EAGLE3}, coding", SPECULATORS, 2.80, 3),
        "qwen3-8b-eagle3-math": Published(f"{_EAGLE3}, mathematics", SPECULATORS, 2.95, 3),
        "qwen3-8b-eagle3-summarization": Published(f"{_EAGLE3}, summarization", SPECULATORS, 2.35, 3),
        "qwen3.8-27b-first-drafter": Published(
            f"{_DFLASH}, first drafter, text other than code", SPARK,
            places=(0.576, 0.378, 0.266, 0.200, 0.150, 0.111, 0.081),
        ),
        "qwen3.8-27b-dspark": Published(
            f"{_DFLASH}, DSpark drafter, second version", SPARK, places=(0.788, 0.636, 0.527, 0.429, 0.354)
        ),
    }
)  # fmt: skip


def length_of(rate: float, drafts: int) -> float:
    """Mean tokens of a round, the verdict's own included."""
    return sum(rate**place for place in range(drafts + 1))


def rate_of(length: float, drafts: int) -> float:
    """The rate that gives this mean length."""
    from scipy.optimize import brentq

    return float(brentq(lambda rate: length_of(rate, drafts) - length, 0.0, 1.0, xtol=1e-12))


def beta_of(first: float, second: float) -> tuple[float, float]:
    """The Beta law whose mean is `first` and whose mean square is `second`."""
    size = (first - second) / (second - first * first)
    return first * size, (1 - first) * size


def places_of(alpha: float, beta: float, places: int) -> tuple[float, ...]:
    """Mean of the rate's powers: the shares of rounds in which so many drafts are accepted."""
    found = [1.0]
    for place in range(places):
        found.append(found[-1] * (alpha + place) / (alpha + beta + place))
    return tuple(found[1:])
