"""The greedy reference and the speculative loop: same output with any drafter; caches caught up exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from testbed.models.agreement import acceptance, agreement, tokens_per_round
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from testbed.models.speculate import draft, speculate

PROMPT = [5, 17, 3, 44, 9]


class Watched(CausalRuntime):
    """Keeps (position, tokens fed) of every pass."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.passes: list[tuple[int, int]] = []

    def forward(self, request: int, position: int, tokens: Any, last: int = 1) -> torch.Tensor:
        self.passes.append((position, len(tokens)))
        return super().forward(request, position, tokens, last)


def test_greedy_equals_repeated_uncached_passes(family: Any, full_logits: Any) -> None:
    model = family(0)
    text = list(PROMPT)
    gaps = []
    for _ in range(20):
        best = full_logits(model, text)[-1].topk(2)
        gaps.append(float(best.values[0] - best.values[1]))
        text.append(int(best.indices[0]))
    result = target_only(CausalRuntime(model), PROMPT, 20)
    assert list(result.tokens) == text[len(PROMPT) :]
    assert result.gaps == pytest.approx(gaps, abs=1e-9)
    assert all(0 <= value <= 4.12 for value in result.entropies)  # ln 61 = 4.11


def test_greedy_ends_with_the_end_of_text_token(family: Any) -> None:
    runtime = CausalRuntime(family(0))
    free = target_only(runtime, PROMPT, 20).tokens
    end = free[6]
    cut = free[: free.index(end) + 1]
    assert target_only(runtime, PROMPT, 20, eos=(end,)).tokens == cut
    assert speculate(runtime, runtime, 0, PROMPT, 20, k=4, eos=(end,)).tokens == cut
    assert runtime.length(0) == 0


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_speculation_equals_greedy_with_a_near_drafter(near_pair: tuple[Any, Any], k: int) -> None:
    target, drafter = map(CausalRuntime, near_pair)
    result = speculate(target, drafter, 0, PROMPT, 60, k)
    assert result.tokens == target_only(target, PROMPT, 60).tokens
    assert min(result.accepted) < k  # the drafter was wrong at least once,
    assert max(result.accepted) > 0  # and right at least once: both paths ran


@pytest.mark.parametrize("k", [1, 2, 4])
def test_speculation_equals_greedy_with_an_unrelated_drafter(family: Any, k: int) -> None:
    target, drafter = CausalRuntime(family(0)), CausalRuntime(family(5, layers=1))
    assert speculate(target, drafter, 0, PROMPT, 40, k).tokens == target_only(target, PROMPT, 40).tokens


def test_a_perfect_drafter_catches_up_on_two_tokens_after_full_acceptance(family: Any) -> None:
    drafter = Watched(family(0))
    result = speculate(CausalRuntime(family(0)), drafter, 0, PROMPT, 15, k=4)
    assert set(result.accepted) == {4}  # a stale drafter cache would break this after the first round
    assert drafter.passes[:6] == [(0, 5), (5, 1), (6, 1), (7, 1), (8, 2), (10, 1)]


def test_the_drafter_drafts_as_if_it_had_no_cache(near_pair: tuple[Any, Any]) -> None:
    """A wrong catch-up spoils drafts silently: replay every round with a fresh drafter and compare acceptance."""
    target, drafter = map(CausalRuntime, near_pair)
    result = speculate(target, drafter, 0, PROMPT, 60, k=3)
    text, fresh = [*PROMPT, *result.tokens], CausalRuntime(near_pair[1])
    length = len(PROMPT)
    for count in result.accepted[:-1]:
        fresh.release(0)
        drafts = draft(fresh, 0, 0, text[:length], 3)
        assert drafts[:count] == text[length : length + count]
        assert count == 3 or drafts[count] != text[length + count]
        length += count + 1


def test_replayed_acceptance_equals_the_loop(near_pair: tuple[Any, Any]) -> None:
    target, drafter = map(CausalRuntime, near_pair)
    one = agreement(target, drafter, PROMPT, 100)
    accepted = speculate(target, drafter, 0, PROMPT, 100, k=4).accepted
    starts = [sum(accepted[:index]) + index for index in range(len(accepted))]
    whole = [count for start, count in zip(starts, accepted, strict=True) if start + 4 <= 100]
    assert tokens_per_round([one], 4) == pytest.approx(sum(whole) / len(whole) + 1)
    assert 0 < acceptance([one]) < 1
