"""The statistics every table and figure uses: medians and ratios of sums, with bootstrap intervals.

Rule: requests of one prompt are resampled together, because repeats of a prompt are not independent; too little data
gives None, never a number. Knows arrays and a seed, nothing of policies or runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000  # each end of a 95 % interval rests on 25 of them


def median_interval(values: Floats, clusters: Sequence[object], seed: Sequence[int]) -> tuple[float, float] | None:
    """95 % bootstrap interval of the median; clusters are drawn with replacement. None with fewer than two clusters."""
    codes, draws = _draws(clusters, seed)
    if draws is None:
        return None
    order = np.argsort(values, kind="stable")
    ranked, ranked_codes = values[order], codes[order]
    medians = np.empty(len(draws))
    for i, counts in enumerate(draws):
        cumulative = np.cumsum(counts[ranked_codes])
        total = int(cumulative[-1])
        low, high = np.searchsorted(cumulative, [(total - 1) // 2, total // 2], side="right")
        medians[i] = (ranked[low] + ranked[high]) / 2
    return _ends(medians)


def ratio_interval(
    numerator: Floats, denominator: Floats, clusters: Sequence[object], seed: Sequence[int]
) -> tuple[float, float] | None:
    """95 % bootstrap interval of sum(numerator) / sum(denominator); pairs stay together, as do clusters."""
    codes, draws = _draws(clusters, seed)
    if draws is None:
        return None
    size = draws.shape[1]
    top = draws @ np.bincount(codes, weights=numerator, minlength=size)
    bottom = draws @ np.bincount(codes, weights=denominator, minlength=size)
    defined = bottom > 0
    return _ends(top[defined] / bottom[defined]) if defined.any() else None


def _draws(clusters: Sequence[object], seed: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.int64] | None]:
    """How often each cluster is drawn, one row a resample."""
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    codes = np.array([index[cluster] for cluster in clusters], dtype=np.intp)
    size = len(index)
    if size < 2:
        return codes, None
    return codes, np.random.default_rng(list(seed)).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)


def _ends(estimates: Floats) -> tuple[float, float]:
    low, high = np.percentile(estimates, [2.5, 97.5])
    return float(low), float(high)
