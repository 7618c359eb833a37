"""`summary.json` has the names the outside relies on, and the printed table shows what it says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from testbed.report.validity_statement import statements
from testbed.results.metrics import REGISTRY
from testbed.results.stamps import across
from testbed.results.summary import summarise
from testbed.results.table import render
from testbed.results.validity import Counts
from tests.results.tiny_log import COUNTS, altered, rows, run

# From the interface document; extra keys are welcome, missing ones are not.
INTERFACE: dict[str, set[str]] = {
    "": {"run_id", "experiment", "engine", "fabric", "nodes", "validity", "lossless", "links", "compute", "policies"},
    "validity": {"valid", "reasons"},
    "lossless": {"checked", "equal"},
    "links": {"pairs", "worst_median_error_ms", "p99_error_ms", "unmatched_packets"},
    "compute": {"steps", "overruns", "overrun_share"},
}
METRICS = {
    "ttft_ms", "tpot_ms", "chunk_gap_ms", "e2e_ms", "dispatch_delay_ms", "scheduled_e2e_ms", "acceptance_rate",
    "tokens_per_round", "acceptance_by_position", "wasted_draft_tokens", "wasted_draft_ms", "overlap_ratio",
    "target_site_draft_passes", "target_site_draft_ratio", "target_passes", "latency_ratio", "queue_ms",
    "bytes_per_token", "round_overhead_ms", "uplink_ms", "compute_ms", "downlink_ms", "draft_uplink_ms",
    "draft_downlink_ms",
}  # fmt: skip


def printed(summary: dict[str, Any], width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(summary, run().manifest["policies"]))
    return console.export_text()


def test_summary_has_the_keys_of_the_interface_and_is_strict_json() -> None:
    summary = summarise(run(), COUNTS)
    for key, names in INTERFACE.items():
        assert names <= set(summary[key] if key else summary), key
    for metrics in summary["policies"].values():
        assert set(metrics) >= METRICS
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_distribution_is_reported_as_median_interval_tail_and_count() -> None:
    tpot = summarise(run(), COUNTS)["policies"]["speculative"]["tpot_ms"]
    assert set(tpot) == {"median", "ci95", "p95", "n"}
    assert tpot["ci95"] is None, "one defined sample has no interval"


def test_registry_is_what_the_summary_reports() -> None:
    assert set(summarise(run(), COUNTS)["policies"]["wanspec"]) == set(REGISTRY)


def test_counts_of_the_log_reach_the_summary() -> None:
    summary = summarise(run(altered("requests", 0, lossless=None)), COUNTS)
    assert summary["lossless"] == {"checked": 5, "equal": 5, "kind": "checked"}
    assert summary["compute"]["steps"] == len(run().steps)
    assert (summary["links"]["pairs"], summary["links"]["unmatched_packets"]) == (1, 0)


def test_drops_and_stale_messages_are_reported_and_only_drops_are_judged() -> None:
    stale = summarise(run(), Counts(0, 2, stale_messages=3))
    assert stale["network"]["stale_messages"] == 3 and stale["validity"]["valid"]
    dropped = summarise(run(), Counts(0, 2, dropped_packets=4))
    assert dropped["links"]["dropped_packets"] == 4 and not dropped["validity"]["valid"]


def test_a_run_with_nothing_in_it_is_reported_not_crashed_on() -> None:
    empty = summarise(run({kind: [] for kind in ("requests", "rounds", "steps", "messages", "links")}), COUNTS)
    assert empty["validity"]["valid"] is False
    assert empty["links"]["worst_median_error_ms"] is None
    assert empty["compute"]["overrun_share"] is None
    assert "-" in printed(empty)


def test_table_fits_eighty_columns_and_prints_the_paper_beside_wanspec() -> None:
    text = printed(summarise(run(), COUNTS))
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "arXiv 2602.18931, Fig. 9" in " ".join(text.split()) and "~0.5" in text
    assert "NOT VALID" not in text
    assert "6 of 6 outputs equal" in text


def test_few_prompts_are_said_with_the_reason_and_enough_are_not() -> None:
    summary = summarise(run(), COUNTS)
    assert summary["few_prompts"] == {"autoregressive": 2, "speculative": 2, "wanspec": 2}
    text = " ".join(printed(summary, width=200).split())
    assert text.count("all policies: no 95 % interval from 2 prompts") == 1
    many = [msgspec.structs.replace(row, prompt_id=f"{row.prompt_id}{n}", request=row.request + 10 * n)
            for row in rows()["requests"] for n in range(3)]  # fmt: skip
    assert "few_prompts" not in summarise(run({"requests": many}), COUNTS)


def test_devices_are_in_the_summary_each_with_its_late_passes() -> None:
    summary = summarise(run(altered("steps", 0, overrun_ms=1.0)), COUNTS)
    first = summary["compute"]["by_device"][0]
    assert first == {
        "policy": "autoregressive", "node": "target0", "kind": "verify", "passes": 5, "late": 1, "late_share": 0.2,
        "late_time_share": 0.02,
    }  # fmt: skip
    assert sum(one["passes"] for one in summary["compute"]["by_device"]) == summary["compute"]["steps"]
    assert len(summary["compute"]["by_device"]) == 6


def test_a_simulation_is_stamped_as_loudly_as_a_run_that_is_not_valid() -> None:
    simulated = summarise(run(engine="simulation"), COUNTS)
    assert simulated["stamps"] == ["SIMULATED"]
    assert "SIMULATED: computed, not measured" in printed(simulated)
    both = summarise(run({"requests": []}, engine="simulation"), COUNTS)
    assert both["stamps"] == ["NOT VALID", "SIMULATED"] == list(across(both))
    assert summarise(run(), COUNTS)["stamps"] == []


@pytest.mark.parametrize("path", sorted(Path("docs/results").glob("*/summary.json")), ids=lambda path: path.parent.name)
def test_summaries_of_version_1_are_still_printed(path: Path) -> None:
    summary = json.loads(path.read_text())
    policies = json.loads(path.with_name("manifest.json").read_text())["policies"]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render(summary, policies))
    text = console.export_text()
    assert all(label[:6] in text for label in summary["policies"])
    assert ("NOT VALID" in text) == (not summary["validity"]["valid"])
    assert any("Compute: " in line for line in statements(summary, {"scenario": {}}))


def test_table_stamps_a_run_that_is_not_valid_with_its_reasons() -> None:
    text = printed(summarise(run(altered("requests", 4, lossless=False)), COUNTS), width=200)
    assert "NOT VALID" in text and "wanspec: 1 of its outputs differ" in text
