"""The answer claims a difference only where its interval shows one, and always names the base of a ratio."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from testbed.report.answer import _latency, answer, checks
from testbed.report.interactive.page import answer_figures
from testbed.results.metrics import policy_logs
from testbed.results.reference import reference_for
from testbed.results.summary import summarise
from testbed.results.timesplit import KINDS, split_ms
from tests.report.synthetic import COUNTS, run_data, usual


def test_the_sentence_names_the_base_and_has_the_summarys_numbers() -> None:
    run, summary = usual()
    references = {entry["label"]: reference_for(entry) for entry in run.manifest["policies"]}
    found = answer(policy_logs(run), summary, references)
    assert found is not None and found.base == "speculative"
    assert found.sentences[0].startswith("wanspec against speculative: ")
    ratio = summary["policies"]["wanspec"]["latency_ratio"]
    against = next(one for one in found.against if one.label == "wanspec")
    assert against.latency == ratio
    assert against.drafts == summary["policies"]["wanspec"]["target_site_draft_ratio"]
    assert len(against.prompts) == 8
    assert "the paper" in found.sentences[0] and "the paper" not in found.sentences[1]


def test_without_speculation_the_first_policy_is_the_base() -> None:
    run, summary = usual()
    logs = {label: log for label, log in policy_logs(run).items() if label != "speculative"}
    logs = {label: replace(log, baseline=None) for label, log in logs.items()}
    found = answer(logs, summary, {})
    assert found is not None and found.base == "autoregressive"
    assert [one.label for one in found.against] == ["wanspec"]


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        ({"median": 0.9, "ci95": [0.85, 0.97], "n": 20}, "10.0% faster (95 % interval 3.0% to 15.0%) over 20 prompts"),
        ({"median": 1.2, "ci95": [1.1, 1.3], "n": 9}, "20.0% slower (95 % interval 10.0% to 30.0%) over 9 prompts"),
        ({"median": 0.9, "ci95": [0.8, 1.01], "n": 9}, "no difference in latency shown over 9 prompts"),
        ({"median": 0.9, "ci95": None, "n": 1}, "latency ratio 0.90 over 1 prompt, too few for an interval"),
    ],
)  # fmt: skip
def test_a_difference_is_claimed_only_where_the_interval_shows_it(ratio: dict[str, Any], said: str) -> None:
    assert _latency(ratio).startswith(said)


def test_the_parts_of_the_time_add_up_to_the_requests_time() -> None:
    for log in policy_logs(run_data()).values():
        split = split_ms(log)
        assert tuple(split) == KINDS
        took = (log.requests["finished_ns"] - log.requests["sent_ns"]).mean() / 1e6
        assert sum(split.values()) == pytest.approx(took)
        assert split["verify"] > 0 and split["in flight"] > 0


def test_what_was_checked_stands_with_what_is_allowed() -> None:
    run, summary = usual()
    told = {one.name: one for one in checks(summary)}
    assert told["lossless"].found == "48 of 48 outputs"
    assert "ms off" in told["links, worst median"].found and told["links, worst median"].allowed.startswith("0.3 ms")
    simulated = replace(run, manifest={**run.manifest, "engine": "simulation"})
    assert checks(summarise(simulated, COUNTS)) == [], "what comes from a table was not checked"


def test_the_table_of_goodput_has_every_scope_of_the_slo_and_what_users_got() -> None:
    run, summary = usual()
    slo = {
        "token_goodput": {"value": 31.4, "ci95": None}, "slo_attainment": {"value": 0.5, "ci95": None},
        "slo_attainment_per_user": {"value": 0.75, "ci95": None}, "slo_fleet_attainment": {"value": 1.02, "ci95": None},
        "tokens_per_s_per_user": {"value": 8.123, "ci95": None},
    }  # fmt: skip
    policies = {label: {**metrics, **slo} for label, metrics in summary["policies"].items()}
    colours = dict.fromkeys(policies, "#333333")
    references = {entry["label"]: reference_for(entry) for entry in run.manifest["policies"]}
    found = answer(policy_logs(run), summary, references)
    figure = next(one for one in answer_figures(found, policies, colours, []) if one.key == "goodput")
    assert figure.rows[0][1:] == ("31.4", "50.0%", "75.0%", "102.0%", "8.12") and len(figure.head) == 6
    earlier = {label: {**metrics, "slo_fleet_attainment": None} for label, metrics in policies.items()}
    for metrics in earlier.values():
        del metrics["tokens_per_s_per_user"]  # a summary of before there was one
    figure = next(one for one in answer_figures(found, earlier, colours, []) if one.key == "goodput")
    assert figure.rows[0][4:] == ("-", "-")
