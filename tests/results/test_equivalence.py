"""TOST by its coverage and by hand, and Holm's correction by a worked example."""

import numpy as np
import pytest

from testbed.results.equivalence import equivalence, holm


def test_alike_groups_are_equal_and_groups_beyond_the_margin_are_not():
    near = equivalence([100.0, 100.5, 99.5], [100.2, 99.9, 100.1, 100.0], 0.03)
    assert near.equal and near.low < near.ratio < near.high and near.high < 1.03 and near.low > 0.97
    beyond = equivalence([105.0, 105.5, 104.5], [100.2, 99.9, 100.1, 100.0], 0.03)
    assert not beyond.equal and beyond.ratio == pytest.approx(1.05, abs=0.002) and beyond.p > 0.9
    assert near.n == (3, 4)


def test_scattered_or_single_values_are_never_equal():
    """The same means as above, with a spread of 10 %: a test for difference would find none."""
    assert not equivalence([90.0, 100.0, 110.0], [100.0, 99.0, 101.0], 0.03).equal
    assert equivalence([100.0], [100.0, 100.0], 0.03) is None
    assert equivalence([100.0, 100.0], [], 0.03) is None


def test_values_without_spread_are_judged_by_their_ratio():
    assert equivalence([100.0] * 3, [101.0] * 3, 0.03).equal
    assert not equivalence([100.0] * 3, [105.0] * 3, 0.03).equal


def test_equal_by_the_test_means_an_interval_within_the_margin():
    """The two are one rule, on random groups near the margin's end."""
    random = np.random.default_rng(3)
    seen = set()
    for _ in range(300):
        first = 100 * np.exp(random.normal(0.02, 0.01, 4))
        second = 100 * np.exp(random.normal(0.0, 0.004, 9))
        found = equivalence(first, second, 0.03)
        assert found.equal == (found.low > 0.97 and found.high < 1.03)
        seen.add(found.equal)
    assert seen == {True, False}


@pytest.mark.slow
def test_at_the_edge_of_the_margin_one_in_twenty_passes():
    random = np.random.default_rng(7)
    passed = 0
    for _ in range(1500):
        first = np.exp(random.normal(np.log(1.03), 0.005, 5))
        passed += equivalence(first, np.exp(random.normal(0.0, 0.005, 8)), 0.03).equal
    assert passed / 1500 == pytest.approx(0.05, abs=0.02)


def test_holm_by_hand():
    """0.01 * 4, 0.013 * 3 raised to the step before, 0.03 * 2, 0.04 raised: in the order given."""
    assert holm([0.01, 0.04, 0.03, 0.013]) == pytest.approx([0.04, 0.06, 0.06, 0.04])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]
