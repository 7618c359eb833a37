"""Bootstrap intervals: seeded, clustered by prompt, and silent where there is too little to say."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.results.statistics import (
    FEW,
    FEWEST_PROMPTS,
    median_interval,
    no_interval,
    ratio_interval,
    ratio_of_medians_interval,
)

VALUES = np.random.default_rng(3).normal(20.0, 2.0, size=60)
ALONE = list(range(60))


def test_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    assert median_interval(VALUES, ALONE, (1, 2)) == median_interval(VALUES, ALONE, (1, 2))
    assert median_interval(VALUES, ALONE, (1, 2)) != median_interval(VALUES, ALONE, (1, 3))


def test_interval_of_a_median_covers_it_and_is_no_wider_than_the_data() -> None:
    low, high = median_interval(VALUES, ALONE, (0,)) or (np.nan, np.nan)
    assert VALUES.min() < low <= np.median(VALUES) <= high < VALUES.max()


def test_copies_of_one_prompt_do_not_narrow_the_interval() -> None:
    copied = np.repeat(VALUES, 10)
    clusters = [i for i in ALONE for _ in range(10)]
    assert median_interval(copied, clusters, (5,)) == median_interval(VALUES, ALONE, (5,))
    low, high = median_interval(copied, list(range(600)), (5,)) or (0.0, 0.0)
    clustered_low, clustered_high = median_interval(copied, clusters, (5,)) or (0.0, 0.0)
    assert high - low < clustered_high - clustered_low


def test_weighted_median_equals_the_median_of_the_resample() -> None:
    values, clusters = np.array([20.0, 2.0, 1.0, 10.0, 4.0, 7.0, 30.0]), list("aabcdef")
    draws = np.random.default_rng([9]).multinomial(6, np.full(6, 1 / 6), size=1000)
    medians = [np.median(np.repeat(values, [d[0], *d])) for d in draws]
    assert median_interval(values, clusters, (9,)) == pytest.approx(tuple(np.percentile(medians, [2.5, 97.5])))


@pytest.mark.parametrize("prompts", [1, FEWEST_PROMPTS - 1, FEWEST_PROMPTS])
def test_few_clusters_have_no_interval_however_many_values_they_have(prompts: int) -> None:
    values = np.arange(10.0 * prompts)
    clusters = [f"prompt {number % prompts}" for number in range(10 * prompts)]
    assert (median_interval(values, clusters, (0,)) is None) == (prompts < FEWEST_PROMPTS)
    assert (ratio_interval(values, values + 1, clusters, (0,)) is None) == (prompts < FEWEST_PROMPTS)


def test_the_fewest_prompts_are_those_whose_range_covers_a_median_in_95_of_100() -> None:
    """All values are on one side of the median, which the range then misses, in 2 of 2^n cases."""
    missed = {prompts: 2 / 2**prompts for prompts in (FEWEST_PROMPTS - 1, FEWEST_PROMPTS)}
    assert missed[FEWEST_PROMPTS] <= 0.05 < missed[FEWEST_PROMPTS - 1]
    assert f"no 95 % interval from 1 prompt: with fewer than {FEWEST_PROMPTS}" in no_interval(1)


def test_interval_of_a_constant_ratio_is_that_ratio() -> None:
    under = np.arange(1.0, 21.0)
    assert ratio_interval(under / 2, under, list(range(20)), (0,)) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("size", [FEW, FEW + 1])
def test_few_and_many_values_are_resampled_alike(size: int) -> None:
    values = np.random.default_rng(size).normal(20.0, 2.0, size=size)
    clusters = [i % 20 for i in range(size)]
    draws = np.random.default_rng([4]).multinomial(20, np.full(20, 1 / 20), size=1000)
    medians = [np.median(np.repeat(values, [d[cluster] for cluster in clusters])) for d in draws]
    assert median_interval(values, clusters, (4,)) == pytest.approx(tuple(np.percentile(medians, [2.5, 97.5])))


def test_a_ratio_of_medians_keeps_pairs_together() -> None:
    assert ratio_of_medians_interval(3 * VALUES, VALUES, ALONE, (1,)) == pytest.approx((3.0, 3.0))
    low, high = ratio_of_medians_interval(VALUES, VALUES[::-1], ALONE, (1,)) or (1.0, 1.0)
    assert low < 1 < high
