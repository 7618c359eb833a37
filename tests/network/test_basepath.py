"""The bare path of every pair from a few of them: right where it is a sum of two ends, whatever single pairs say."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from testbed.network.measure.basepath import STEPS, everywhere, one_direction, sample, shares

NODES = [f"n{number}" for number in range(40)]
USED = [pair for other in NODES[1:] for pair in ((other, NODES[0]), (NODES[0], other))]  # a star


def measured(spread: float, wrong: int = 0) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """True shares, and the sampled pairs' values with a uniform error; `wrong` of them are far too long."""
    chance = random.Random(3)
    true = {node: chance.uniform(0.02, 0.2) for node in NODES}
    values = {(a, b): true[a] + true[b] + chance.uniform(-spread, spread) for a, b in sample(NODES, USED)}
    for pair in chance.sample(sorted(values), wrong):
        values[pair] += 5.0
    return true, values


def test_a_sample_holds_every_used_pair_and_partners_of_every_node_once_each() -> None:
    chosen = sample(NODES, USED)
    assert len({frozenset(pair) for pair in chosen}) == len(chosen)
    assert all(pair in chosen or pair[::-1] in chosen for pair in USED)
    for node in NODES:
        assert sum(node in pair for pair in chosen) >= 2 * len(STEPS)
    assert len(chosen) <= len(NODES) * (len(STEPS) + 1)


def test_one_direction_keeps_the_first() -> None:
    assert one_direction([("a", "b"), ("b", "a"), ("c", "b"), ("a", "b")]) == [("a", "b"), ("c", "b")]


def test_shares_are_found_exactly_where_values_are_sums() -> None:
    true, values = measured(0.0)
    assert shares(values) == pytest.approx(true, abs=1e-3)


def test_a_few_pairs_measured_at_a_bad_moment_move_nobody_far() -> None:
    true, values = measured(0.01, wrong=12)
    of_all = everywhere(values, permutations(NODES, 2))
    unmeasured = [pair for pair in of_all if pair not in values]
    worst = max(abs(of_all[a, b] - true[a] - true[b]) for a, b in unmeasured)
    assert worst < 0.1, "a third of what a link may be off"


def test_a_pair_that_was_measured_keeps_its_own_value() -> None:
    _, values = measured(0.05, wrong=3)
    of_all = everywhere(values, permutations(NODES, 2))
    assert all(of_all[pair] == value for pair, value in values.items())
    assert len(of_all) == len(NODES) * (len(NODES) - 1)
    assert everywhere(values, list(values)) == values


def test_of_shares_that_are_not_unique_the_smallest_are_taken() -> None:
    """A star without a pair among its ends: what the centre has less, all others may have more."""
    assert shares({("a", "b"): 1.0}) == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-3)
    star = shares({(f"n{number}", "n0"): 0.3 for number in range(1, 40)})
    assert star == pytest.approx({"n0": 0.3 * 39 / 40} | {f"n{number}": 0.3 / 40 for number in range(1, 40)}, abs=1e-3)
