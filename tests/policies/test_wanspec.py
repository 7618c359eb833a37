"""What WANSpec is for: fewer draft passes at the target's site than co-located speculation, at nearly its latency.

Reference numbers: `EXPECTED` is an independent event model of Algorithm 1 with one branch (k = 2, i.i.d. match 0.80,
100 tokens, phi as a detector that flags 85 % of wrong and 35 % of right bonus tokens), steps of 23.4 and 7.5 ms.
"""

from __future__ import annotations

import itertools
import statistics
from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.errors import BadInput
from testbed.policies import registry
from testbed.policies.estimates import MovingAverage, RecentMedian
from testbed.testing import HashModels, Job, Loop, Result

REQUESTS = 24


@cache
def ratios(rtt_ms: float, **params: Any) -> tuple[float, float]:
    """(latency, target-site draft passes) relative to co-located speculation on the same requests."""
    base, offloaded = measure("speculative", 0.0), measure("wanspec", rtt_ms, **params)
    return offloaded[0] / base[0], offloaded[1] / base[1]


@cache
def measure(policy: str, rtt_ms: float, **params: Any) -> tuple[float, int]:
    results = [run(policy, rtt_ms, seed, **params) for seed in range(REQUESTS)]
    return statistics.median(result.latency_ms() for result in results), sum(r.count("draft") for r in results)


def run(policy: str, rtt_ms: float, seed: int, **params: Any) -> Result:
    spec, models = registry.get(policy), HashModels(seed, vocabulary=5000, match=0.8)
    return Loop(spec, spec.parse({"k": 2, **params}), models, rtt_ms=rtt_ms).run([Job(0, (1, 2, 3), 100)])


EXPECTED = [
    # rtt, parameters, latency ratio, draft ratio
    (10.0, {"phi": 0.5}, 0.89, 0.54),
    (15.0, {"phi": 0.5}, 0.93, 0.55),
    (20.0, {"phi": 0.5}, 0.95, 0.55),
    (30.0, {"phi": 0.5}, 1.02, 0.55),
    (70.0, {"phi": 0.5}, 1.05, 0.81),
    (10.0, {"phi": 0.5, "rule": "t_draft_aware"}, 0.98, 0.23),
    (15.0, {"phi": 0.5, "rule": "t_draft_aware"}, 1.07, 0.24),
    (20.0, {"phi": 0.5, "rule": "t_draft_aware"}, 0.95, 0.55),
    (70.0, {"phi": 0.5, "rule": "t_draft_aware"}, 1.05, 0.81),
    (10.0, {"phi": None}, 0.91, 0.74),
    (15.0, {"phi": None}, 0.93, 0.77),
    (20.0, {"phi": None}, 0.94, 0.81),
    (30.0, {"phi": None}, 0.97, 0.87),
    (70.0, {"phi": None}, 1.01, 0.95),
]


@pytest.mark.parametrize(("rtt_ms", "params", "latency", "drafts"), EXPECTED)
def test_ratios_agree_with_an_independent_model(
    rtt_ms: float, params: dict[str, Any], latency: float, drafts: float
) -> None:
    ours = ratios(rtt_ms, **params)
    print(f"\nrtt {rtt_ms:3.0f} ms {params}: latency {ours[0]:.2f} (model {latency}), drafts {ours[1]:.2f} ({drafts})")
    assert ours[0] == pytest.approx(latency, abs=0.04)
    assert ours[1] == pytest.approx(drafts, abs=0.06)


def test_baseline_agrees_with_the_closed_form() -> None:
    """A round is k drafts and a target pass, 38.4 ms, and emits 1 + a + a^2 tokens on average."""
    rounds = 100 / (1 + 0.8 + 0.8**2)
    assert measure("speculative", 0.0)[0] == pytest.approx(38.4 * rounds, rel=0.03)


def test_next_to_the_target_no_draft_pass_is_left_there() -> None:
    latency, drafts = ratios(0.0, phi=0.5)
    assert drafts < 0.05
    assert latency < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("rtt_ms", [10.0, 20.0, 30.0])
def test_higher_phi_means_fewer_passes_here_and_more_stalls(rtt_ms: float) -> None:
    sweep = [ratios(rtt_ms, phi=phi) for phi in (0.0, 0.25, 0.5, 0.75, 1.0)]
    drafts = [each[1] for each in sweep]
    assert all(later <= earlier + 0.01 for earlier, later in itertools.pairwise(drafts)), drafts
    assert drafts[-1] < drafts[0] - 0.15


@pytest.mark.parametrize("rtt_ms", [10.0, 15.0, 20.0])
def test_contradicting_worker_token_brings_local_drafting_forward(rtt_ms: float) -> None:
    """Without the transition the controller waits for a worker it could know to be wrong: fewer passes, not faster."""
    with_it, without = ratios(rtt_ms, phi=100.0), ratios(rtt_ms, phi=100.0, contradiction=False)
    assert with_it[1] > without[1]
    assert with_it[0] <= without[0] + 0.005


def test_one_latency_spike_does_not_change_the_measured_round_trip() -> None:
    estimate = RecentMedian()
    assert estimate.value is None
    for sample in (10.0, 11.0, 500.0, 10.0):
        estimate.add(sample)
    assert estimate.value == 10.5
    average = MovingAverage(weight=0.5)
    average.add(10.0)
    average.add(20.0)
    assert average.value == 15.0


@pytest.mark.parametrize("branches", [0, 5])
def test_branches_outside_1_to_4_are_refused(branches: int) -> None:
    with pytest.raises(BadInput, match="branches"):
        registry.get("wanspec").parse({"branches": branches})


def test_a_worker_that_may_not_reach_k_is_refused() -> None:
    with pytest.raises(BadInput, match="max_lookahead 2 must be at least k 4"):
        registry.get("wanspec").parse({"k": 4, "max_lookahead": 2})


def test_parameters_survive_a_round_trip_through_plain_data() -> None:
    params = registry.get("wanspec").parse({"phi": None, "rtt_ms": 12.5})
    assert registry.get("wanspec").parse(params.model_dump()) == params
    with pytest.raises(ValidationError):
        params.k = 3
