"""Verdict tables with crafted rows, and the coupling of speculative to target-only sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from testbed.decoding.processing import entropy_nats
from testbed.decoding.rows import SparseRow
from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import choose, draft_choice, verify, verify_greedy, verify_sampled

SAMPLED = Sampling(temperature=0.9, top_k=6, top_p=0.95, seed=5)


@pytest.mark.parametrize(
    ("choices", "drafts", "accepted", "tokens"),
    [
        ([4], [], 0, (4,)),  # no drafts: plain decoding
        ([4, 5, 6], [4, 5], 2, (4, 5, 6)),  # all accepted: a bonus token
        ([4, 5, 6], [9, 5], 0, (4,)),  # early mismatch: later agreement does not count
        ([4, 5, 6], [4, 9], 1, (4, 5)),  # correction after one accepted
    ],
)
def test_greedy_accepts_up_to_the_first_mismatch(
    choices: list[int], drafts: list[int], accepted: int, tokens: tuple[int, ...]
) -> None:
    verdict = verify_greedy(choices, drafts)
    assert (verdict.accepted, verdict.tokens) == (accepted, tokens)


P = np.array([0.5, 0.3, 0.2])
Q = np.array([0.2, 0.2, 0.6])


@pytest.mark.parametrize(
    ("draft", "accept", "emit", "accepted", "tokens"),
    [
        (0, 0.999, 0.0, 1, (0, 1)),  # p > q: always accepted; bonus drawn from p at 0.6
        (2, 0.333, 0.0, 1, (2, 1)),  # 0.2 / 0.6: accepted just below a third
        (2, 0.334, 0.0, 0, (0,)),  # rejected just above; residual is (0.3, 0.1, 0)
        (2, 0.9, 0.76, 0, (1,)),  # the residual's second token from 0.75 on
    ],
)
def test_rejection_table(draft: int, accept: float, emit: float, accepted: int, tokens: tuple[int, ...]) -> None:
    verdict = verify_sampled([P, P], [Q], [draft], [(accept, emit), (0.0, 0.6)])
    assert (verdict.accepted, verdict.tokens) == (accepted, tokens)


def test_empty_residual_falls_back_to_the_target_and_is_counted() -> None:
    """A rejection whose residual rounds to nothing; exact arithmetic never gets here."""
    p, q = np.array([0.5, 0.4]), np.array([0.5, 0.5])
    verdict = verify_sampled([p, p], [q], [1], [(0.9, 0.0), (0.0, 0.0)])
    assert (verdict.accepted, verdict.tokens, verdict.fallbacks) == (0, (0,), 1)


def test_a_draft_its_row_rules_out_is_refused() -> None:
    with pytest.raises(ValueError, match="probability 0"):
        verify_sampled([P, P], [np.array([1.0, 0.0, 0.0])], [1], [(0.0, 0.0), (0.0, 0.0)])


@pytest.mark.parametrize("rows", [0, 2])
def test_rows_that_do_not_fit_the_drafts_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="1 drafts"):
        verify_sampled([P, P], [Q] * rows, [1], [(0.0, 0.0), (0.0, 0.0)])


def logits_table(seed: int, length: int = 12, vocabulary: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2.0, size=(length, vocabulary)).astype(np.float32)


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED, Sampling(temperature=1.3, seed=1)])
def test_with_unsampled_drafts_output_equals_target_only_token_for_token(sampling: Sampling) -> None:
    """Invariant 1 for sampling: whatever is drafted and however rounds fall, the target's own draws come out."""
    for seed in range(30):
        table = logits_table(seed)
        alone = [choose(row, sampling, seed, position) for position, row in enumerate(table)]
        noise = np.random.default_rng(seed)
        output: list[int] = []
        while len(output) < len(table):
            depth = min(int(noise.integers(0, 4)), len(table) - len(output) - 1)
            start = len(output)
            drafts = [
                alone[start + index] if noise.random() < 0.7 else int(noise.integers(16)) for index in range(depth)
            ]
            output += verify(table[start : start + depth + 1], drafts, sampling, seed, start).tokens
        assert output == alone


def test_sampled_drafts_are_judged_by_the_row_they_came_with() -> None:
    """Identical distributions: a sampled draft is always accepted, whatever the draws."""
    for request in range(50):
        table = logits_table(request, length=2)
        draft = draft_choice(table[0], True, 0, SAMPLED, request, 7)
        assert draft.row is not None
        assert verify(table, [draft.token], SAMPLED, request, 7, [draft.row]).accepted == 1


def test_the_bonus_token_is_the_targets_own_draw_at_its_position() -> None:
    bonuses = 0
    for request in range(50):
        table = logits_table(request, length=3)
        drafts = [draft_choice(row, True, 0, SAMPLED, request, 7 + index) for index, row in enumerate(table[:2])]
        rows = [draft.row for draft in drafts if draft.row is not None]
        verdict = verify(table, [draft.token for draft in drafts], SAMPLED, request, 7, rows)
        assert verdict.tokens[2] == choose(table[2], SAMPLED, request, 9)
        bonuses += verdict.tokens[2] != choose(table[2], SAMPLED, request, 7)
    assert bonuses > 0


def test_greedy_requests_ignore_draft_rows() -> None:
    table = logits_table(0, length=2)
    best = int(table[0].argmax())
    row = SparseRow((best, (best + 1) % 16), (0.5, 0.5))
    assert verify(table, [(best + 1) % 16], Sampling(), 0, 0, [row]).tokens == (best,)
    assert verify(table, [best], Sampling(), 0, 0, [row]).accepted == 1


def test_a_truncated_draft_is_drawn_from_the_row_that_is_sent() -> None:
    for request in range(50):
        choice = draft_choice(logits_table(request)[0], True, 3, SAMPLED, request, 0)
        assert choice.row is not None and choice.token in choice.row.tokens
        assert len(choice.row.tokens) <= 3
        assert math.isclose(sum(choice.row.probabilities), 1.0)


def test_entropies_are_of_the_unprocessed_target_in_nats_one_per_emitted_token() -> None:
    table = logits_table(0, length=3)
    verdict = verify(table, [int(table[0].argmax()), 3], Sampling(), 0, 0)
    assert verdict.entropies == tuple(entropy_nats(row) for row in table[: len(verdict.tokens)])
    assert entropy_nats(np.zeros(8)) == pytest.approx(math.log(8))
