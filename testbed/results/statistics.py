"""The statistics every table and figure uses: medians and ratios of sums, with bootstrap intervals.

Rule: requests of one prompt are resampled together, because repeats of a prompt are not independent; too few prompts
give no interval. Where one prompt set is run with several seeds, both are resampled, each prompt with all its seeds
(the pigeonhole bootstrap: A. B. Owen, Annals of Applied Statistics 1(2), 2007). Knows arrays and a seed, nothing of
policies or runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000  # each end of a 95 % interval rests on 25 of them
# Of five independent values the whole range covers the median with 1 - 2 / 2**5 = 93.75 %, of six with 96.9 %.
FEWEST_PROMPTS = 6
FEW = 96  # up to here all resamples at once are faster than one after the other


def no_interval(prompts: int) -> str:
    """Why there is none, for people."""
    counted = f"{prompts} prompt{'' if prompts == 1 else 's'}"
    return (
        f"no 95 % interval from {counted}: with fewer than {FEWEST_PROMPTS} not even the range of all values covers "
        "the median that often; ask more prompts (workload.requests)"
    )


def median_interval(
    values: Floats, clusters: Sequence[object], seed: Sequence[int] | None
) -> tuple[float, float] | None:
    """95 % bootstrap interval of the median; clusters are drawn with replacement. None with fewer than six clusters."""
    codes, draws = _draws(clusters, seed)
    if draws is None:
        return None
    return _ends(_medians(values, codes, draws))


def ratio_of_medians_interval(
    over: Floats, under: Floats, clusters: Sequence[object], seed: Sequence[int] | None
) -> tuple[float, float] | None:
    """95 % bootstrap interval of median(over) / median(under) of paired values; a pair is drawn together."""
    codes, draws = _draws(clusters, seed)
    if draws is None:
        return None
    top, bottom = _medians(over, codes, draws), _medians(under, codes, draws)
    defined = bottom > 0
    return _ends(top[defined] / bottom[defined]) if defined.any() else None


def ratio_interval(
    numerator: Floats, denominator: Floats, clusters: Sequence[object], seed: Sequence[int] | None
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


def crossed_draws(
    prompts: Sequence[Sequence[object]], seed: Sequence[int]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """How often each run, and in it each of its prompts, counts: one row a resample, the first of which is all ones.

    `prompts` are those of each run, one run for each seed. A prompt that is in several is drawn for all of them at
    once: drawn anew in each, the luck of the prompts would average out over seeds, and the interval come out too
    narrow. There is no other row than the first where there are too few prompts.
    """
    known = {one: i for i, one in enumerate(dict.fromkeys(one for run in prompts for one in run))}
    size, runs = len(known), len(prompts)
    every = np.ones((1, size), dtype=np.int64)
    each = np.ones((1, runs), dtype=np.int64)
    if size >= FEWEST_PROMPTS:
        random = np.random.default_rng(list(seed))
        every = np.vstack([every, random.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)])
        each = np.vstack([each, random.multinomial(runs, np.full(runs, 1 / runs), size=RESAMPLES)])
    return each, [every[:, [known[one] for one in run]] for run in prompts]


def _draws(clusters: Sequence[object], seed: Sequence[int] | None) -> tuple[NDArray[np.intp], NDArray[np.int64] | None]:
    """How often each cluster is drawn, one row a resample; None where no interval is wanted or possible."""
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    codes = np.array([index[cluster] for cluster in clusters], dtype=np.intp)
    size = len(index)
    if size < FEWEST_PROMPTS or seed is None:
        return codes, None
    return codes, np.random.default_rng(list(seed)).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)


def _medians(values: Floats, codes: NDArray[np.intp], draws: NDArray[np.int64]) -> Floats:
    """The median of each resample, a value counting as often as its cluster was drawn."""
    order = np.argsort(values, kind="stable")
    ranked, ranked_codes = values[order], codes[order]
    if len(values) <= FEW:
        cumulative = np.cumsum(draws[:, ranked_codes], axis=1)
        total = cumulative[:, -1:]
        low, high = (np.sum(cumulative <= at, axis=1) for at in ((total - 1) // 2, total // 2))
        few: Floats = (ranked[low] + ranked[high]) / 2
        return few
    medians = np.empty(len(draws))
    for i, counts in enumerate(draws):
        one = np.cumsum(counts[ranked_codes])
        drawn = int(one[-1])
        first, second = np.searchsorted(one, [(drawn - 1) // 2, drawn // 2], side="right")
        medians[i] = (ranked[first] + ranked[second]) / 2
    return medians


def _ends(estimates: Floats) -> tuple[float, float]:
    low, high = np.percentile(estimates, [2.5, 97.5])
    return float(low), float(high)
