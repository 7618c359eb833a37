"""The largest size that is within a bound, where what is measured is noisy and need not grow with every size.

The method is that of dose finding: sizes are probed one after another, the measures are made monotone by weighted
isotonic regression, and the estimate is where that fit crosses the bound (M. Stylianou, N. Flournoy, Biometrics 58(1),
2002; with interpolation: A. P. Oron, N. Flournoy, Statistics in Biopharmaceutical Research 9(3), 2017). Its interval
is that of the crossings of resampled measures. So one size that is worse by chance, or by a staircase, moves the
estimate by its weight and does not end the search.

The stopping rule, which looks at nothing else:

1. From 16, sizes double while the fit at the largest is within the bound, and go on by a quarter until two sizes lie
   beyond the crossing, or `most` is reached.
2. The gap that holds the crossing is halved until it is at most `precision` of the size, or one.
3. So are the gaps that hold the ends of the 95 % interval, to `end_precision` of the size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST = 16
BEYOND = 2  # sizes that must lie beyond the crossing
STEP = 1.25
ENDS = (2.5, 97.5)


@dataclass(frozen=True)
class Rule:
    """When two sizes are near enough, as shares of the estimate."""

    most: int
    precision: float = 0.02
    end_precision: float = 0.05


@dataclass(frozen=True)
class Probed:
    """What was found so far: sizes in ascending order, and by size what was seen (first column) and resampled."""

    sizes: tuple[int, ...]
    measures: Floats
    weights: Floats
    bound: float

    def estimate(self) -> int:
        """The largest size that was probed and lies within the bound by the fit; 0 if none does."""
        inside = int(np.count_nonzero(fitted(self.measures[:, 0], self.weights) <= self.bound))
        return self.sizes[inside - 1] if inside else 0

    def crossings(self) -> Floats:
        """For each resample where its fit crosses the bound, between sizes by interpolation."""
        return np.array([self._crossing(column) for column in self.measures[:, 1:].T])

    def interval(self) -> tuple[float, float] | None:
        """Its ends as they are, between sizes; None without resamples."""
        if self.measures.shape[1] == 1:
            return None
        low, high = np.percentile(self.crossings(), ENDS)
        return float(low), float(high)

    def not_monotone(self) -> tuple[int, int] | None:
        """A size that is surely beyond the bound, and a larger one that is surely within: then no fit tells all."""
        if self.measures.shape[1] == 1:
            return None
        low, high = np.percentile(self.measures[:, 1:], ENDS, axis=1)
        beyond = [size for size, end in zip(self.sizes, low, strict=True) if end > self.bound]
        within = [size for size, end in zip(self.sizes, high, strict=True) if end <= self.bound]
        return next(((a, b) for a in beyond for b in within if a < b), None)

    def _crossing(self, measures: Floats) -> float:
        fit = fitted(measures, self.weights)
        inside = int(np.count_nonzero(fit <= self.bound))
        if not inside or inside == len(fit):
            return float(self.sizes[-1]) if inside else 0.0
        low, high = self.sizes[inside - 1], self.sizes[inside]
        below, above = fit[inside - 1], fit[inside]
        return float(low + (high - low) * (self.bound - below) / (above - below))


def fitted(measures: Floats, weights: Floats) -> Floats:
    """The non-decreasing values that are nearest to these."""
    if np.all(measures[1:] >= measures[:-1]):
        return measures
    from scipy.optimize import isotonic_regression

    fit: Floats = isotonic_regression(measures, weights=weights).x
    return fit


def next_size(found: Probed | None, rule: Rule) -> int | None:
    """The size that the rule wants probed next, None where it is content."""
    if found is None:
        return min(FIRST, rule.most)
    sizes, estimate = found.sizes, found.estimate()
    beyond = sum(size > estimate for size in sizes)
    if beyond < BEYOND and sizes[-1] < rule.most:
        return min(rule.most, 2 * sizes[-1] if not beyond else math.ceil(STEP * sizes[-1]))
    if (wanted := _halved(estimate, sizes, _near(estimate, rule.precision))) is not None:
        return wanted
    for end in found.interval() or ():
        if end >= sizes[-1] and sizes[-1] < rule.most:
            return min(rule.most, math.ceil(STEP * sizes[-1]))
        if (wanted := _halved(end, sizes, _near(estimate, rule.end_precision))) is not None:
            return wanted
    return None


def _near(estimate: int, precision: float) -> int:
    return max(1, math.floor(precision * estimate))


def _halved(at: float, sizes: Sequence[int], near: int) -> int | None:
    """The middle of the gap that holds `at`, unless it is narrow enough."""
    low = max((size for size in sizes if size <= at), default=0)
    high = min((size for size in sizes if size > at), default=low)
    return (low + high) // 2 if high - low > near else None
