"""Acceptance arithmetic on hand-made agreements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from testbed.models.agreement import Agreement, acceptance, area_under_roc, rejection_auc, tokens_per_round
from testbed.models.reference import Reference


def agreed(flags: str, entropies: tuple[float, ...] | None = None) -> Agreement:
    """`flags` spells agreement: `+` the drafter's token is the target's, `-` it is not."""
    nothing = (0.0,) * len(flags)
    reference = Reference(tuple(range(len(flags))), nothing, nothing)
    return Agreement(reference, tuple(flag == "+" for flag in flags), entropies or nothing)


@pytest.mark.parametrize(
    ("flags", "k", "expected"),
    [
        ("++++++++", 3, 4.0),  # rounds of three drafts and a bonus; the second ends with the recording
        ("--------", 3, 1.0),  # every round is one correction
        ("++-++-", 2, 3.0),  # the bonus stands where the drafter would have been wrong
        ("+-+-+-", 2, 2.0),
        ("-+", 1, 1.5),
    ],
)
def test_tokens_per_round_counts_accepted_drafts_and_one_more(flags: str, k: int, expected: float) -> None:
    assert tokens_per_round([agreed(flags)], k) == expected


def test_independent_acceptance_gives_the_closed_form() -> None:
    rate, k = 0.7, 4
    flags = np.random.default_rng(0).random(200_000) < rate
    one = agreed("".join("+" if flag else "-" for flag in flags))
    assert tokens_per_round([one], k) == pytest.approx((1 - rate ** (k + 1)) / (1 - rate), rel=0.01)


def test_no_whole_round_gives_no_number() -> None:
    assert math.isnan(tokens_per_round([agreed("+")], 2))


def test_acceptance_pools_positions_not_prompts() -> None:
    assert acceptance([agreed("+"), agreed("---")]) == 0.25


def test_auc_is_one_when_every_rejection_was_less_certain() -> None:
    assert rejection_auc([agreed("+-", (0.1, 0.9)), agreed("-+", (0.8, 0.2))]) == 1.0
    assert rejection_auc([agreed("+-", (0.9, 0.1))]) == 0.0
    assert rejection_auc([agreed("++", (0.9, 0.1))]) is None


def test_auc_counts_ties_half() -> None:
    scores = np.array([1.0, 1.0, 2.0, 0.0])
    positive = np.array([True, False, True, False])
    assert area_under_roc(scores, positive) == (1 + 1 + 1 + 0.5) / 4
