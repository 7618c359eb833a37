"""Metrics against a log computed by hand (invariant 4), and undefined is None, never 0."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from testbed.results.headings import NARROW
from testbed.results.metrics import FAMILIES, REGISTRY, RTT_ERROR, compute, policy_logs
from testbed.results.metrics.base import SHAPES, SampleMetric
from tests.results.tiny_log import Rows, message, ns, request, rows, run


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return compute(run())


@pytest.mark.parametrize(
    ("policy", "tag", "median"),
    [
        ("speculative", "ttft_ms", 18.0),  # 17 and 19
        ("speculative", "tpot_ms", 5.0),  # (32 - 17) / 3; the other request has one token
        ("speculative", "chunk_gap_ms", 15.0),  # 32 - 17
        ("speculative", "e2e_ms", 25.5),  # 32 and 19
        ("speculative", "dispatch_delay_ms", 1.0),
        ("speculative", "scheduled_e2e_ms", 26.5),
        ("speculative", "queue_ms", 0.5),
        ("wanspec", "uplink_ms", 2.0),  # 1 and 3
        ("wanspec", "downlink_ms", 1.0),  # 1, 1 and 2
        ("wanspec", "draft_uplink_ms", 6.0),  # 5 and 7
        ("wanspec", "draft_downlink_ms", 4.0),
        ("wanspec", "compute_ms", 15.5),  # 2 + 10 + 5 and 2 + 2 + 10; what the drafter does is not here
        ("autoregressive", "compute_ms", 25.0),  # 40 and 10
        ("speculative", "round_overhead_ms", 1.0),  # 1, 1 and 3
        ("autoregressive", "round_overhead_ms", 0.0),
        ("speculative", "wasted_draft_tokens", 1.5),  # 4 - 3 and 2 - 0
        ("speculative", "wasted_draft_ms", 3.0),  # 8 * 1/4 and 4 * 2/2
        ("speculative", "target_passes", 1.5),
        ("speculative", "target_site_draft_passes", 3.0),
        ("wanspec", "target_site_draft_passes", 1.5),  # 1 and 2; the drafter's three do not count
        ("autoregressive", "target_site_draft_passes", 0.0),  # a counted zero is a zero
        ("wanspec", "latency_ratio", 1.375),  # 24/32 and 38/19
        ("speculative", "latency_ratio", 1.0),
    ],
)
def test_median_equals_the_hand_computed_value(metrics: dict[str, Any], policy: str, tag: str, median: float) -> None:
    assert metrics[policy][tag]["median"] == pytest.approx(median)


@pytest.mark.parametrize(
    ("policy", "tag", "value"),
    [
        ("speculative", "acceptance_rate", 3 / 5),  # 2/2, 1/1 after the cut, 0/2
        ("speculative", "tokens_per_round", 5 / 3),
        ("autoregressive", "tokens_per_round", 1.0),
        ("wanspec", "overlap_ratio", 4 / 9),
        ("wanspec", "target_site_draft_ratio", 3 / 6),
        ("autoregressive", "target_site_draft_ratio", 0.0),
        ("wanspec", "bytes_per_token", 10.0),  # 50 bytes, 5 tokens
    ],
)
def test_ratio_equals_the_hand_computed_value(metrics: dict[str, Any], policy: str, tag: str, value: float) -> None:
    assert metrics[policy][tag]["value"] == pytest.approx(value, abs=1e-6)


def test_acceptance_by_position_counts_only_rounds_that_reached_the_position(metrics: dict[str, Any]) -> None:
    found = metrics["speculative"]["acceptance_by_position"]
    assert found["value"] == pytest.approx([2 / 3, 1 / 2], abs=1e-6)
    assert found["n"] == [3, 2]


@pytest.mark.parametrize(
    ("policy", "tag"),
    [
        ("autoregressive", "acceptance_rate"),
        ("autoregressive", "acceptance_by_position"),
        ("autoregressive", "wasted_draft_tokens"),
        ("autoregressive", "wasted_draft_ms"),
        ("speculative", "overlap_ratio"),
        ("speculative", "bytes_per_token"),  # it logged no message
        ("speculative", "uplink_ms"),
        ("speculative", "downlink_ms"),
        ("speculative", "draft_uplink_ms"),
        ("speculative", "draft_downlink_ms"),
        ("wanspec", "round_overhead_ms"),  # its work at the target is not sequential
    ],
)
def test_undefined_is_none_never_zero(metrics: dict[str, Any], policy: str, tag: str) -> None:
    assert metrics[policy][tag] is None


def test_every_metric_is_none_for_a_policy_without_any_row() -> None:
    others: Rows = {
        kind: [row for row in of_kind if row.policy != "wanspec"] for kind, of_kind in rows().items() if kind != "links"
    }
    assert set(compute(run(others))["wanspec"].values()) == {None}


def test_ratios_to_the_baseline_are_none_without_co_located_speculation() -> None:
    policies = [{"label": name, "name": name} for name in ("autoregressive", "wanspec")]
    metrics = compute(run(policies=policies))["wanspec"]
    assert metrics["latency_ratio"] is None
    assert metrics["target_site_draft_ratio"] is None


def test_round_overhead_is_none_on_native_devices() -> None:
    native = [msgspec.structs.replace(step, paced_ms=0.0) for step in rows()["steps"]]
    assert compute(run({"steps": native}))["speculative"]["round_overhead_ms"] is None


def test_every_round_of_a_sequential_policy_has_its_own_passes(metrics: dict[str, Any]) -> None:
    overhead = metrics["speculative"]["round_overhead_ms"]
    assert overhead["n"] == 3
    assert overhead["p95"] == pytest.approx(2.8)  # between 1 and 3, the ones of the third round


def test_ratio_pairs_by_prompt_and_ignores_prompts_only_one_policy_answered() -> None:
    kept = [r for r in rows()["requests"] if not (r.policy == "speculative" and r.prompt_id == "b")]
    metrics = compute(run({"requests": kept}))["wanspec"]
    assert metrics["latency_ratio"]["median"] == pytest.approx(24 / 32)
    assert metrics["target_site_draft_ratio"]["value"] == pytest.approx(1 / 4)


def test_repeats_of_a_prompt_become_one_value_before_the_ratio_is_taken() -> None:
    log = rows()
    again = [msgspec.structs.replace(r, repeat=1) for r in log["steps"] if (r.policy, r.request) == ("wanspec", 0)]
    answered = msgspec.structs.replace(request("wanspec", 0, 0, [(16, 3), (40, 1)]), repeat=1)
    changed: Rows = {"steps": [*log["steps"], *again], "requests": [*log["requests"], answered]}
    metrics = compute(run(changed))["wanspec"]
    assert metrics["latency_ratio"]["median"] == pytest.approx(1.5)  # median of (24 and 40)/32 and 38/19
    assert metrics["target_site_draft_ratio"]["value"] == pytest.approx(3 / 6)  # as without the repeat


def test_rows_of_a_request_that_never_finished_count_in_no_metric() -> None:
    kept = [r for r in rows()["requests"] if not (r.policy == "speculative" and r.prompt_id == "b")]
    metrics = compute(run({"requests": kept}))["speculative"]
    assert metrics["target_passes"] == {"median": 2.0, "ci95": None, "p95": 2.0, "n": 1}
    assert metrics["acceptance_rate"]["value"] == 1.0


def test_the_baseline_is_found_by_registered_name_and_results_are_keyed_by_label() -> None:
    labels = {"speculative": "wanspec", "wanspec": "speculative"}  # crossed over, so that a mix-up would show
    policies = [{"label": label, "name": name} for label, name in labels.items()]
    metrics = compute(run(policies=policies))
    assert list(metrics) == ["speculative", "wanspec"]
    assert metrics["wanspec"]["latency_ratio"]["median"] == 1.0
    assert metrics["speculative"]["latency_ratio"]["median"] == pytest.approx((32 / 24 + 19 / 38) / 2)


def test_invariant_4_passes_and_tokens_are_conserved_from_log_to_metrics(metrics: dict[str, Any]) -> None:
    log = rows()
    for policy in ("autoregressive", "speculative", "wanspec"):
        mine = {kind: [row for row in log[kind] if row.policy == policy] for kind in ("requests", "rounds", "steps")}
        verifies = [step for step in mine["steps"] if step.kind == "verify"]
        assert metrics[policy]["target_passes"]["median"] * len(mine["requests"]) == len(verifies)  # two: median = mean
        tokens = sum(request.output_tokens for request in mine["requests"])
        assert metrics[policy]["tokens_per_round"]["value"] * len(mine["rounds"]) == pytest.approx(tokens, abs=1e-4)
        assert metrics[policy]["queue_ms"]["n"] == len(mine["steps"])


def test_the_parts_of_a_sequential_wait_add_up_to_it() -> None:
    """One request at a time and one target: up, queue, device and last way down are all there is, but overhead."""
    way = [message("autoregressive", 0, "request", 0, 0.5)]
    way += [message("autoregressive", 0, "tokens", at, at + 1) for at in (10, 20, 30, 40)]
    steps = [s for s in rows()["steps"] if (s.policy, s.request) == ("autoregressive", 0)]
    steps = [msgspec.structs.replace(s, submitted_ns=s.started_ns) for s in steps]
    steps[0] = msgspec.structs.replace(steps[0], submitted_ns=ns(0.5), started_ns=ns(2))
    asked = [r for r in rows()["requests"] if (r.policy, r.request) == ("autoregressive", 0)]
    found = compute(run({"messages": way, "steps": steps, "requests": asked}))["autoregressive"]
    log = policy_logs(run({"messages": way, "steps": steps, "requests": asked}))["autoregressive"]
    queue = REGISTRY["queue_ms"]
    assert isinstance(queue, SampleMetric)
    waited = queue.samples(log)
    assert waited is not None and waited.sum() == pytest.approx(1.5)
    parts = [found[tag]["median"] for tag in ("uplink_ms", "compute_ms", "downlink_ms")]
    assert sum(parts) + waited.sum() == pytest.approx(found["e2e_ms"]["median"])


def test_same_log_and_seed_same_metrics() -> None:
    assert compute(run()) == compute(run())


def test_rtt_error_reports_the_worst_by_size() -> None:
    assert RTT_ERROR.compute(run().links) == {"median": pytest.approx(0.15), "worst": pytest.approx(0.2), "n": 2}
    assert RTT_ERROR.compute(run({"links": []}).links) is None


def test_every_metric_says_what_it_is() -> None:
    tables = {"requests", "rounds", "steps", "messages", "links"}
    for metric in REGISTRY.values():
        assert metric.formula and metric.header and metric.direction in ("lower", "higher", "neither")
        assert metric.requires and set(metric.requires) <= tables
    assert len(REGISTRY) == sum(len(family) for family in FAMILIES.values()), "two metrics share a tag"
    assert set(NARROW) <= set(REGISTRY)


def test_a_statistic_has_the_keys_of_its_shape(metrics: dict[str, Any]) -> None:
    """The reference and `testbed metrics` say the shape."""
    computed = {tag: one for of_policy in metrics.values() for tag, one in of_policy.items() if one is not None}
    assert {REGISTRY[tag].shape for tag in computed} == set(SHAPES)
    for tag, statistic in computed.items():
        assert set(SHAPES[REGISTRY[tag].shape]) == set(statistic) - {"classes"}, tag
        assert isinstance(statistic.get("value"), list) is (REGISTRY[tag].shape == "list"), tag
