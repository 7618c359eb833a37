"""Whether two groups of values are equal within a margin (TOST), and how many of a family of tests hold (Holm).

*Equivalence* turns the usual test around: what must be refuted is that the ratio of the means lies outside the margin,
at either end (two one-sided tests: D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15(6), 1987),
here by Welch's t of the logarithms. Few or scattered values refute nothing, so they are never "equal".

*Holm's correction* keeps the chance that any of a family of true hypotheses is refuted at the level of one (S. Holm,
Scandinavian Journal of Statistics 6(2), 1979).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]

LEVEL = 0.05
FEWEST = 2  # values of a group: one has no spread


@dataclass(frozen=True)
class Equivalence:
    """`ratio` is of geometric means, first over second, with the interval that TOST at 5 % looks at: the 90 % one."""

    ratio: float
    low: float
    high: float
    p: float
    margin: float
    n: tuple[int, int]

    @property
    def equal(self) -> bool:
        return self.p < LEVEL


def equivalence(first: Values, second: Values, margin: float) -> Equivalence | None:
    """Of positive values; None where a group has fewer than two."""
    if min(len(first), len(second)) < FEWEST:
        return None
    from scipy.stats import ttest_ind

    a, b = np.log(np.asarray(first, dtype=float)), np.log(np.asarray(second, dtype=float))
    difference = float(a.mean() - b.mean())
    n, below, above = (len(a), len(b)), math.log1p(-margin), math.log1p(margin)
    if a.std() + b.std() < 1e-12:  # no spread that a t could be made of
        within = below < difference < above
        return Equivalence(math.exp(difference), math.exp(difference), math.exp(difference), 1.0 - within, margin, n)
    with warnings.catch_warnings():  # repeats without noise are alike to the last bits, and that is no loss
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        ends = ttest_ind(a, b, equal_var=False).confidence_interval(1 - 2 * LEVEL)
        upper = ttest_ind(a - above, b, equal_var=False, alternative="less").pvalue
        lower = ttest_ind(a - below, b, equal_var=False, alternative="greater").pvalue
    return Equivalence(
        math.exp(difference), math.exp(ends.low), math.exp(ends.high), float(max(upper, lower)), margin, n
    )


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: below a level exactly where Holm's procedure at that level refutes."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(one) for one in adjusted]
