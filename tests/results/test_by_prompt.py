"""Each prompt held against co-located speculation: what the worst one is, and the rows of which distributions are."""

from __future__ import annotations

import pytest

from testbed.results.metrics import REGISTRY, policy_logs
from testbed.results.metrics.offload import by_prompt
from tests.results.tiny_log import run


def test_the_worst_latency_ratio_is_the_largest_over_prompts():
    logs = policy_logs(run())
    worst = {label: REGISTRY["latency_ratio_max"].compute(log) for label, log in logs.items()}
    assert worst["wanspec"] == {"value": pytest.approx(38 / 19), "ci95": None}  # the other prompt: 24 / 32
    assert worst["speculative"] == {"value": 1.0, "ci95": None}


def test_rows_by_prompt_equal_the_hand_computed_ones():
    rows = by_prompt(policy_logs(run())["wanspec"])
    assert rows is not None and len(rows) == 2
    by_latency = rows.sort_values("latency_ratio")
    assert by_latency["e2e_ms"].tolist() == pytest.approx([24, 38])
    assert by_latency["baseline_e2e_ms"].tolist() == pytest.approx([32, 19])
    assert by_latency["latency_difference_ms"].tolist() == pytest.approx([-8, 19])
    assert by_latency["latency_ratio"].tolist() == pytest.approx([0.75, 2.0])
    assert rows["target_site_draft_passes"].sum() / rows["baseline_target_site_draft_passes"].sum() == 0.5  # 3 of 6


def test_without_co_located_speculation_nothing_is_compared():
    policies = [{"label": name, "name": name} for name in ("autoregressive", "wanspec")]
    log = policy_logs(run(policies=policies))["wanspec"]
    assert by_prompt(log) is None and REGISTRY["latency_ratio_max"].compute(log) is None
