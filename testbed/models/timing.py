"""How long a device's passes take: the arithmetic of a profile, and the numbers that it needs.

A profile is read and checked by `testbed.models.devices`; a model worker gets its `Timing` and does the same arithmetic
without what reads files. Imports nothing but the draws, so that a worker stays small.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple, Protocol

from testbed.decoding.rng import uniform

LEAST_SHARE = 2.0**-54  # half of the smallest step of a uniform draw: a law without an end has no value at 0
_NORMAL = NormalDist()


class Feed(NamedTuple):
    """One request's part in a pass: tokens fed, and tokens of it that are cached before."""

    new: int
    cached: int = 0


def padded(feeds: Sequence[Feed]) -> list[Feed]:
    """The feeds as a device without ragged batches computes them: each as long as the longest."""
    longest = max(one.new for one in feeds)
    return [Feed(longest, one.cached) for one in feeds]


class Varying(Protocol):
    """What a pass's factor is drawn from."""

    def factor(self, share: float) -> float: ...


@dataclass(frozen=True)
class Law:
    """Of the factor of a pass: lognormal where `sigma` is given, else `quantiles` with linear steps between."""

    quantiles: tuple[tuple[float, float], ...] = ()
    sigma: float | None = None
    most: float = math.inf

    def factor(self, share: float) -> float:
        """The quantile function: what `share` of all passes do not exceed. `share` in [0, 1)."""
        if self.sigma is not None:
            return min(self.most, math.exp(self.sigma * _NORMAL.inv_cdf(share or LEAST_SHARE)))
        right = min(bisect_right(self.quantiles, share, key=lambda knot: knot[0]), len(self.quantiles) - 1)
        (left_share, left), (right_share, high) = self.quantiles[right - 1], self.quantiles[right]
        return left + (high - left) * (share - left_share) / (right_share - left_share)


class Timed:
    """The arithmetic, over the fields below; `testbed.models.devices` says what they mean."""

    if TYPE_CHECKING:  # a file's model and `Timing` each have them in their own way
        name: str
        pass_ms: tuple[tuple[int, float], ...]
        max_pass_tokens: int
        attention_ms: float
        kv_read_ms: float
        sequence_ms: float
        step_ms: float
        varies: Varying | None

        @property
        def native(self) -> bool: ...

    @property
    def by_tokens_alone(self) -> bool:
        """Whether a pass takes the same time whatever is cached."""
        return self.attention_ms == 0 and self.kv_read_ms == 0

    def duration_ms(self, tokens: int, cached: int = 0) -> float:
        """Milliseconds one request's pass takes; 0 for `native`. Raises ValueError outside the knots."""
        return self.batch_ms((Feed(tokens, cached),))

    def long_ms(self, tokens: int) -> float:
        """What all but one in a hundred of one request's passes stay within."""
        return self.duration_ms(tokens) * (1.0 if self.varies is None else self.varies.factor(0.99))

    def batch_ms(self, feeds: Sequence[Feed]) -> float:
        """Milliseconds one pass over all these feeds takes; 0 for `native`. Raises ValueError outside the knots."""
        if self.native:
            return 0.0
        new = sum(one.new for one in feeds)
        if self.by_tokens_alone:
            return self.total_ms(new, 0, 0, len(feeds))
        pairs = sum(one.new * (one.new + one.cached) for one in feeds)
        return self.total_ms(new, pairs, sum(one.cached for one in feeds), len(feeds))

    def total_ms(self, new: int, pairs: int, cached: int, requests: int) -> float:
        """The same from the feeds' sums; `pairs` are those of new tokens and the tokens they attend to."""
        total = self._dense_ms(new)
        if not self.by_tokens_alone:
            total += self.attention_ms * pairs
            total += self.kv_read_ms * cached
        return total + self.sequence_ms * requests + self.step_ms

    def factor(self, seed: int, job: int, index: int) -> float:
        """By what the pass `index` of a device's job differs from these times; `seed` is the device's in this trial."""
        return 1.0 if self.varies is None else self.varies.factor(uniform(seed, job, index, "pass-time"))

    def passes(self, tokens: int) -> list[int]:
        """How a feed of `tokens` is cut into passes: full ones first."""
        full, rest = divmod(tokens, self.max_pass_tokens)
        return [self.max_pass_tokens] * full + ([rest] if rest else [])

    def _dense_ms(self, tokens: int) -> float:
        if not 1 <= tokens <= self.pass_ms[-1][0]:
            raise ValueError(f"{self.name}: {tokens} tokens are outside the profiled 1 to {self.pass_ms[-1][0]}")
        at = bisect_left(self.pass_ms, (tokens, 0.0))
        right_tokens, right_ms = self.pass_ms[at]
        if right_tokens == tokens:
            return right_ms
        left_tokens, left_ms = self.pass_ms[at - 1]
        return left_ms + (right_ms - left_ms) * (tokens - left_tokens) / (right_tokens - left_tokens)


@dataclass(frozen=True)
class Timing(Timed):
    """What of a profile times its passes, as a worker is told it."""

    name: str
    native: bool
    pass_ms: tuple[tuple[int, float], ...]
    max_pass_tokens: int
    attention_ms: float = 0.0
    kv_read_ms: float = 0.0
    sequence_ms: float = 0.0
    step_ms: float = 0.0
    varies: Law | None = None
