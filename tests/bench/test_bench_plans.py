"""Rows of runs beside their plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.bench.plans import CASES, HEADING, Case, main, row
from testbed.experiment.document import load_scenario
from testbed.files.named import experiment
from tests.results.test_forecast import PLAN, SUMMARY, TIMINGS


def summary() -> dict[str, Any]:
    from testbed.results.forecast import beside

    found: dict[str, Any] = {**SUMMARY, "validity": {"valid": False, "reasons": ["a link"]}}
    return {**found, "plan": beside({"plan": PLAN}, found, TIMINGS)}


def test_a_run_is_a_row() -> None:
    line, right = row(Case("one", ("quickstart",)), 3, summary(), "")
    assert line == (
        "| quickstart | 1 | 1 min 40 s / 1 min 45 s | 1 min 50 s / 1 min 52 s | +2% (+5%) | 1.0% / 2.0% | "
        "valid / not valid (a link) |"
    )
    assert not right and line.count("|") == HEADING.count("|")


def test_a_refusal_is_right_where_a_run_does_not_fit() -> None:
    said = "testbed: plan: nothing fits; fix: less"
    for fits, status, right in ((False, 4, True), (True, 4, False), (False, 2, False)):
        line, good = row(Case("one", ("quickstart",), fits), status, None, said)
        assert good == right and said in line and line.count("|") == HEADING.count("|")


def test_every_run_is_one_that_can_be_read() -> None:
    for case in CASES:
        name, overrides = case.arguments[0], [one for one in case.arguments[1:-2] if "=" in one]
        assert load_scenario(Path(experiment(name)), overrides).refuse_emulation() is None


def test_rows_of_runs_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, found in (("a-1", summary()), ("b-2", {**summary(), "plan": None}), (".c-3.partial", summary())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(found))
    (tmp_path / "latest").symlink_to("a-1")
    assert main(["--read", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(" | ")[0] for line in lines if "wall time" not in line and "---" not in line and line] == [
        "| a-1"
    ]
    assert lines[-1] == "right: 0 of 1; wall time within 15%: 1 of 1"
