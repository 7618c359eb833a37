"""Invariant 1: greedy output of every policy equals target-only greedy decoding, token for token.

Whatever the round-trip time, jitter, drafters, parameters and number of concurrent requests; and the run always ends.
The models read nothing but the caches the policy cropped and fed, so a wrong crop shows here too.
"""

from __future__ import annotations

from typing import Any

import pytest

from testbed.policies import registry
from testbed.testing import HashModels, Job, Loop, hashed

RTTS_MS = [0.0, 10.0, 70.0, 200.0]

WANSPEC_VARIANTS: list[dict[str, Any]] = [
    {"phi": 0.5},
    {"phi": None},
    {"phi": 0.0},
    {"phi": 100.0},
    {"rule": "t_draft_aware"},
    {"rule": "t_draft_aware", "phi": 100.0, "contradiction": False},
    {"contradiction": False},
    {"rtt_ms": 0.0, "phi": 100.0},  # never drafts here
    {"rtt_ms": 1e9},  # always drafts here
    {"max_lookahead": 4},
]


def jobs(seed: int, count: int, max_tokens: int = 30, eos: tuple[int, ...] = ()) -> list[Job]:
    return [
        Job(request, (seed, request, 1, 2)[: 1 + (seed + request) % 4], max_tokens, eos, at_ms=3.0 * request)
        for request in range(count)
    ]


def check(name: str, params: dict[str, Any], models: HashModels, work: list[Job], **loop: Any) -> None:
    spec = registry.get(name)
    result = Loop(spec, spec.parse(params), models, **loop).run(work)
    for job in work:
        assert tuple(result.outputs[job.request]) == models.reference(job), (name, params, loop, job)
    assert set(result.finished_ms) == {job.request for job in work}
    assert result.open_caches == 0


@pytest.mark.parametrize("requests", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_autoregressive_output_equals_greedy(seed: int, requests: int) -> None:
    check("autoregressive", {}, HashModels(seed), jobs(seed, requests))


@pytest.mark.parametrize("requests", [1, 4])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_speculative_output_equals_greedy(k: int, requests: int) -> None:
    for seed in range(10):
        check("speculative", {"k": k}, HashModels(seed), jobs(seed, requests))


@pytest.mark.parametrize("requests", [1, 4])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("rtt_ms", RTTS_MS)
def test_wanspec_output_equals_greedy(rtt_ms: float, k: int, requests: int) -> None:
    for seed, variant in enumerate(WANSPEC_VARIANTS):
        check("wanspec", {"k": k, **variant}, HashModels(seed), jobs(seed, requests), rtt_ms=rtt_ms)


@pytest.mark.parametrize("rtt_ms", RTTS_MS)
@pytest.mark.parametrize("salts", [{"drafter0": 1}, {"target0": 2, "drafter0": 1, "drafter1": 3}])
def test_wanspec_output_equals_greedy_with_different_drafters_at_the_sites(
    rtt_ms: float, salts: dict[str, int]
) -> None:
    """Two sites' drafters err at different tokens: their paths part, and the output does not care."""
    for seed, variant in enumerate(WANSPEC_VARIANTS):
        models = HashModels(seed, salts=salts)
        check("wanspec", {"k": 3, **variant}, models, jobs(seed, 4), rtt_ms=rtt_ms, drafters=2)


@pytest.mark.parametrize("t_draft_ms", [0.5, 7.5, 40.0])
@pytest.mark.parametrize("seed", range(6))
def test_wanspec_output_equals_greedy_under_jitter_and_any_drafter_speed(seed: int, t_draft_ms: float) -> None:
    """A slow worker is outrun by validations and has to jump; a fast one runs into its look-ahead bound."""
    for variant in WANSPEC_VARIANTS:
        check(
            "wanspec",
            {"k": 2, **variant},
            HashModels(seed),
            jobs(seed, 2),
            rtt_ms=20.0,
            t_draft_ms=t_draft_ms,
            jitter=lambda sequence: 60.0 * hashed("jitter", sequence) ** 4,
        )


@pytest.mark.parametrize(
    "policy", [("autoregressive", {}), ("speculative", {"k": 3}), ("wanspec", {"k": 3}), ("wanspec", {"phi": None})]
)
def test_output_ends_with_the_first_end_of_sequence(policy: tuple[str, dict[str, Any]]) -> None:
    ended_early = 0
    for seed in range(20):
        models = HashModels(seed, vocabulary=12)
        work = jobs(seed, 2, eos=(5,))
        ended_early += sum(len(models.reference(job)) < job.max_tokens for job in work)
        check(*policy, models, work, rtt_ms=10.0)
    assert ended_early > 10


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4])
@pytest.mark.parametrize("policy", ["autoregressive", "speculative", "wanspec"])
def test_shortest_outputs_have_the_asked_length(policy: str, max_tokens: int) -> None:
    for seed in range(5):
        check(policy, {}, HashModels(seed), jobs(seed, 2, max_tokens), rtt_ms=10.0)


@pytest.mark.parametrize("match", [0.0, 1.0])
@pytest.mark.parametrize("policy", ["speculative", "wanspec"])
def test_useless_and_perfect_drafters_change_nothing(policy: str, match: float) -> None:
    for rtt_ms in RTTS_MS:
        check(policy, {}, HashModels(match=match), jobs(0, 2), rtt_ms=rtt_ms)


def test_wanspec_runs_before_the_first_round_trip_is_measured() -> None:
    check("wanspec", {}, HashModels(), jobs(0, 2), rtt_ms=20.0, link_samples=False)


def test_a_wrong_output_would_be_noticed() -> None:
    """The check can fail: against another target's reference it does."""
    spec, job = registry.get("wanspec"), jobs(0, 1)[0]
    result = Loop(spec, spec.parse({}), HashModels(0)).run([job])
    assert tuple(result.outputs[0]) != HashModels(1).reference(job)
