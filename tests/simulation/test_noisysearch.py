"""The search against curves whose crossing is known: sharp, noisy, and not monotone; and its stopping rule."""

import numpy as np
import pytest

from testbed.simulation.noisysearch import Probed, Rule, fitted, next_size

BOUND = 0.05


def searched(measure, most=512, precision=0.02, end_precision=0.05):
    """`measure(size)`: what was seen and, after it, the resamples."""
    rule, found, order = Rule(most, precision, end_precision), None, []
    while (size := next_size(found, rule)) is not None:
        order.append(size)
        sizes = tuple(sorted(order))
        rows = np.array([measure(one) for one in sizes], dtype=float)
        found = Probed(sizes, rows, np.ones(len(sizes)), BOUND)
    return found, order


@pytest.mark.parametrize("true", [0, 1, 5, 16, 17, 31, 100, 512, 4000])
@pytest.mark.parametrize("precision", [0.0, 0.02])
def test_a_sharp_edge_is_found_and_no_size_is_probed_twice(true, precision):
    found, order = searched(lambda size: [float(size > true)], precision=precision)
    assert found.estimate() == pytest.approx(min(true, 512), abs=max(0.0, precision * true))
    assert found.estimate() <= true and found.interval() is None
    assert len(order) == len(set(order)) <= 17


def test_the_interval_holds_the_edge_of_each_resample():
    """Resamples whose edges are spread evenly over 60 to 140: 95 % of them lie within 62 to 138."""
    edges = np.linspace(60, 140, 401)
    found, order = searched(lambda size: [float(size > 100), *(size > edges)])
    low, high = found.interval()
    assert found.estimate() == pytest.approx(100, abs=2)
    assert low == pytest.approx(62, abs=5) and high == pytest.approx(138, abs=5)
    assert len(order) < 25 and found.not_monotone() is None


def test_noise_moves_the_estimate_little_and_the_search_ends():
    """A share that grows from 0 to 10 % by 200 users crosses 5 % at 100; each size is seen with noise of 0.4 points."""
    errors = []
    for seed in range(40):
        luck = np.random.default_rng(seed).normal(0, 0.004, 1000)
        found, order = searched(lambda size, luck=luck: [size / 2000 + luck[size]])
        errors.append(found.estimate() - 100)
        assert len(order) < 30
    assert abs(np.mean(errors)) < 4 and np.abs(errors).max() < 20


def test_one_size_that_is_worse_does_not_end_the_search():
    """A staircase: 16 users are beyond the bound, 17 to 300 are not. Halving alone would have said less than 16."""
    found, _ = searched(lambda size: [0.06 if size == 16 else 0.0 if size <= 300 else 1.0])
    assert found.estimate() == pytest.approx(300, abs=6)


def test_a_share_that_surely_falls_is_told():
    share = {16: 0.2, 20: 0.01, 40: 0.9, 80: 0.9}
    measures = np.array([[value, value - 0.005, value + 0.005] for value in share.values()])
    assert Probed(tuple(share), measures, np.ones(4), BOUND).not_monotone() == (16, 20)
    unsure = np.array([[value, 0.0, value + 0.1] for value in share.values()])
    assert Probed(tuple(share), unsure, np.ones(4), BOUND).not_monotone() is None


def test_a_search_that_ends_at_its_limit_says_the_limit():
    found, order = searched(lambda size: [0.0, 0.0], most=100)
    assert found.estimate() == 100 and found.interval() == (100.0, 100.0) and max(order) == 100


def test_the_fit_is_the_weighted_mean_of_what_is_out_of_order():
    assert fitted(np.array([0.1, 0.4, 0.2]), np.array([1.0, 1.0, 3.0])) == pytest.approx([0.1, 0.25, 0.25])
