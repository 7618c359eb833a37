"""Keyed draws: the same on every machine, different for every decision."""

from __future__ import annotations

import statistics
from typing import Any

from testbed.decoding.rng import uniform

GOLDEN = (0.8576234464034042, 0.9110258240830037, 0.5785565426892126)


def test_draws_do_not_change_between_releases_or_machines() -> None:
    """Golden values: changing them changes every sampled result ever recorded."""
    assert uniform(0, 0, 0, "target") == GOLDEN[0]
    assert uniform(7, 3, 41, "accept") == GOLDEN[1]
    assert uniform(-1, 2**40, 2**33, "draft") == GOLDEN[2]


def test_every_part_of_the_key_matters() -> None:
    keys: list[Any] = [
        (0, 0, 0, "target"),
        (1, 0, 0, "target"),
        (0, 1, 0, "target"),
        (0, 0, 1, "target"),
        (0, 0, 0, "residual"),
    ]
    assert len({uniform(*key) for key in keys}) == len(keys)


def test_draws_are_uniform_and_neighbours_uncorrelated() -> None:
    draws = [uniform(1, request, position, "target") for request in range(40) for position in range(100)]
    assert all(0.0 <= value < 1.0 for value in draws)
    assert abs(statistics.mean(draws) - 1 / 2) < 0.02
    assert abs(statistics.pvariance(draws) - 1 / 12) < 0.005
    assert abs(statistics.correlation(draws[:-1], draws[1:])) < 0.05
