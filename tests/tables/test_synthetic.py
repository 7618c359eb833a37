"""Synthetic tables have the law they are made with, and replay like recorded ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pytest

from testbed.decoding.cacheview import CacheView
from testbed.errors import BadInput
from testbed.policies.api import Draft, Verify
from testbed.tables.replay import Replay
from testbed.tables.synthetic import (
    ByOutcome,
    Constant,
    Empirical,
    Exponential,
    iid_table,
    made_up_prompts,
    resampled_table,
)
from testbed.tables.table import DecodeTable, load_table

ENTROPY = ByOutcome(match=Exponential(0.3), mismatch=Exponential(1.5))
DEPTH = 6


def iid(match_rate: float | list[float], seed: int = 1, count: int = 20, second: float = 0.0) -> DecodeTable:
    return iid_table(made_up_prompts(count, 8, seed), 100, match_rate, ENTROPY, ENTROPY, seed, DEPTH, second)


def flags(table: DecodeTable) -> list[list[bool]]:
    """By prompt and position: does the drafter agree."""
    return [[one.matched(at) > 0 for at in range(len(one.tokens))] for one in table.prompts.values()]


def mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept)


def tokens_per_round(table: DecodeTable, k: int) -> float:
    """Speculative decoding of every prompt, by replay."""
    replay = Replay(table)
    rounds = []
    for request, (key, one) in enumerate(table.prompts.items()):
        replay.bind(request, key)
        text, end = list(one.prompt), len(one.prompt) + len(one.tokens)
        draft_cache, target_cache = CacheView(), CacheView()
        while len(text) + k + 1 <= end:
            position, tokens = draft_cache.plan(text)
            drafts = replay.draft(Draft(0, request, position, tokens, k)).tokens
            draft_cache.fed(position, tokens, drafts)
            position, tokens = target_cache.plan(text, drafts, fresh=k + 1)
            verdict = replay.verify(Verify(1, request, position, tokens, k))
            target_cache.fed(position, tokens)
            text += verdict.tokens
            rounds.append(len(verdict.tokens))
    return mean(rounds)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("match_rate", [0.5, 0.8])
def test_independent_outcomes_give_the_closed_form_of_tokens_per_round(match_rate: float, k: int) -> None:
    """Expected tokens a round: (1 - p^(k+1)) / (1 - p)."""
    expected = (1 - match_rate ** (k + 1)) / (1 - match_rate)
    assert tokens_per_round(iid(match_rate, count=150), k) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("match_rate", "expected"), [(0.0, 1.0), (1.0, 4.0)])
def test_a_useless_and_a_perfect_drafter_reach_the_bounds(match_rate: float, expected: float) -> None:
    assert tokens_per_round(iid(match_rate, count=2), 3) == expected


def test_outcomes_do_not_depend_on_the_one_before() -> None:
    rows = flags(iid(0.7, count=150))
    after_match = mean(row[at] for row in rows for at in range(1, 100) if row[at - 1])
    after_mismatch = mean(row[at] for row in rows for at in range(1, 100) if not row[at - 1])
    assert after_match == pytest.approx(0.7, abs=0.03)
    assert after_mismatch == pytest.approx(0.7, abs=0.03)


def test_rates_may_differ_by_position() -> None:
    rows = flags(iid([1.0] * 50 + [0.0] * 50, count=3))
    assert all(row == [True] * 50 + [False] * 50 for row in rows)


def test_the_second_choice_is_right_at_its_own_rate_where_the_first_is_wrong() -> None:
    table = iid(0.5, count=100, second=0.4)
    wrong = [(one, at) for one in table.prompts.values() for at in range(100) if one.matched(at) == 0]
    assert mean(one.second_tokens[at][0] == one.tokens[at] for one, at in wrong) == pytest.approx(0.4, abs=0.03)
    assert all(one.top_tokens[at][0] != one.top_tokens[at][1] for one in table.prompts.values() for at in range(101))


def test_entropies_follow_the_outcome() -> None:
    one = next(iter(iid(0.5, count=1).prompts.values()))
    fixed = ByOutcome(Constant(0.1), Constant(2.0))
    table = iid_table({"a": one.prompt}, 100, 0.5, fixed, ByOutcome(Constant(0.2), Empirical((1.0,))), 1, DEPTH)
    made = table.prompts["a"]
    for at in range(100):
        expected = (0.1, 0.2) if made.matched(at) else (2.0, 1.0)
        assert (made.entropies[at], made.rollout_entropies[at][0]) == expected
        assert made.rollout_confidences[at][0] == math.exp(-expected[1])


def test_distributions_are_inverse_cumulative_functions() -> None:
    assert Exponential(2.0)(0.0) == 0.0
    assert Exponential(2.0)(1 - math.exp(-1)) == pytest.approx(2.0)
    assert [Empirical((1.0, 2.0))(uniform) for uniform in (0.0, 0.49, 0.5, 0.99)] == [1.0, 1.0, 2.0, 2.0]


def test_one_seed_one_table() -> None:
    assert iid(0.8, seed=3).sha256 == iid(0.8, seed=3).sha256
    assert iid(0.8, seed=3).sha256 != iid(0.8, seed=4).sha256
    recorded = iid(0.8, seed=3)
    assert resampled_table(recorded, 1).sha256 == resampled_table(recorded, 1).sha256
    assert resampled_table(recorded, 1).sha256 != resampled_table(recorded, 2).sha256


def test_resampling_keeps_every_outcome_and_no_order() -> None:
    recorded = load_table("tiny-prose")
    dealt = resampled_table(recorded, 7)
    assert dealt.synthetic and not recorded.synthetic
    assert [one.prompt for one in dealt.prompts.values()] == [one.prompt for one in recorded.prompts.values()]

    def outcomes(table: DecodeTable) -> list[tuple[bool, bool, float, float]]:
        return [
            (one.matched(at) > 0, one.second_tokens[at][0] == token, one.entropies[at], one.rollout_entropies[at][0])
            for one in table.prompts.values()
            for at, token in enumerate(one.tokens)
        ]

    assert sorted(outcomes(dealt)) == sorted(outcomes(recorded))
    assert outcomes(dealt) != outcomes(recorded)


def test_synthetic_tables_can_be_written(tmp_path: Path) -> None:

    table = iid(0.8, count=2)
    path = tmp_path / "iid.parquet"
    table.write(path)
    assert load_table(str(path)).sha256 == table.sha256


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(BadInput, match="outside 0 to 1"):
        iid(1.2)
    with pytest.raises(BadInput, match="2 match rates for 100 output tokens"):
        iid([0.5, 0.5])
    with pytest.raises(BadInput, match="at least 1"):
        iid_table({"a": (1,)}, 3, 0.5, ENTROPY, ENTROPY, 1, 0)
