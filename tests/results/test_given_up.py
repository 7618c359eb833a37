"""A policy that gives losslessness up by choice is stamped and counted apart; nobody else's failures hide behind it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from testbed.report import validity_statement
from testbed.results.conservation import broken
from testbed.results.sampling import unverified_by_choice
from testbed.results.summary import summarise
from testbed.results.table import render
from testbed.results.validity import judge
from tests.results.tiny_log import COUNTS, POLICIES, altered, rows, run

CHOSEN: list[dict[str, Any]] = [
    {"label": name, "name": name, "params": {"fall_back": 2} if name == "wanspec" else {}, "place": {}}
    for name in POLICIES
]
WANSPEC_DIFFERS = altered("requests", 4, lossless=False)


def test_only_a_fall_back_that_is_on_gives_losslessness_up() -> None:
    entries = [{"label": "a", "params": {"fall_back": None}}, {"label": "b", "params": {"fall_back": 1}}]
    assert unverified_by_choice([*entries, {"label": "c", "params": {}}]) == ("b",)


def test_by_choice_a_difference_is_no_failure_and_is_counted_apart() -> None:
    assert not judge(run(WANSPEC_DIFFERS), COUNTS).valid
    chosen = run(WANSPEC_DIFFERS, policies=CHOSEN)
    assert judge(chosen, COUNTS).valid
    summary = summarise(chosen, COUNTS)
    assert summary["lossless"] == {"checked": 4, "equal": 4, "kind": "checked"}
    assert summary["not_lossless_by_choice"] == {"wanspec": {"checked": 2, "equal": 1}}
    assert "not_lossless_by_choice" not in summarise(run(), COUNTS)


def test_another_policy_of_the_run_is_judged_as_ever() -> None:
    (reason,) = judge(run(altered("requests", 2, lossless=False), policies=CHOSEN), COUNTS).reasons
    assert reason.startswith("speculative: 1 of its outputs differ")


@pytest.mark.parametrize(("policies", "laws"), [(CHOSEN, 0), (None, 1)])
def test_tokens_that_came_from_no_round_break_the_law_unless_they_were_chosen(policies: Any, laws: int) -> None:
    without = {"rounds": [one for one in rows()["rounds"] if (one.policy, one.request) != ("wanspec", 1)]}
    found = broken(run(without, **({} if policies is None else {"policies": policies})))
    assert len(found) == laws


def test_table_and_report_are_stamped_even_where_every_output_is_equal() -> None:
    summary = summarise(run(policies=CHOSEN), COUNTS)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(summary, CHOSEN))
    text = " ".join(console.export_text().split())
    assert "NOT LOSSLESS BY CHOICE" in text and "wanspec: emits unverified tokens" in text
    assert "4 of 4 outputs equal" in text and "NOT VALID" not in text
    assert any(
        said.startswith("Not lossless by choice: wanspec")
        for said in validity_statement.statements({**summary, "engine": "simulation"}, {"scenario": {}})
    )
