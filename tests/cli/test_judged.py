"""`testbed run --assert --retries --junit`: statuses, files and lines, on simulated runs and on made-up outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from testbed.cli import judged
from testbed.cli.main import app
from testbed.errors import AssertionsFailed, BadInput, MachineCannot, RunInvalid, TestbedError
from testbed.experiment.document import load_scenario
from testbed.results.rundir import Outcome
from tests.sweep_examples import experiment

pytestmark = pytest.mark.usefixtures("without_page")


def run(folder: Path, *options: str) -> Any:
    path = experiment(folder, matrix=None)
    arguments = ["run", str(path), "--engine", "simulation", "--out", str(folder / "runs"), *options]
    return CliRunner().invoke(app, arguments)


def test_what_holds_and_what_fails(tmp_path: Path) -> None:
    done = run(tmp_path, "--assert", "tpot_ms > 0", "--assert", "e2e_ms < 0", "--junit", str(tmp_path / "j.xml"))
    assert done.exit_code == AssertionsFailed.exit_code == 5, done.output
    assert "holds: tpot_ms > 0" in done.stdout and "FAILS: e2e_ms < 0" in done.stdout
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert int(suite.get("failures", 0)) > 0 and suite.get("errors") == "0"
    assert run(tmp_path, "--assert", "tpot_ms > 0").exit_code == 0


def test_json_tells_every_judgement(tmp_path: Path) -> None:
    done = run(tmp_path, "--assert", "e2e_ms < 0", "--json")
    found = json.loads(done.stdout)["assertions"]
    assert done.exit_code == 5 and {one["holds"] for one in found} == {False}
    assert "assertions" not in json.loads(run(tmp_path, "--json").stdout)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--assert", "tpot < 1"], "did you mean 'tpot_ms'"),
        (["--retries", "1"], "a simulation comes out the same each time"),
        (["--junit", "nowhere/at/all.xml"], "no folder"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path: Path, options: list[str], words: str) -> None:
    done = run(tmp_path, *options)
    assert isinstance(done.exception, BadInput) and words in str(done.exception)
    assert not (tmp_path / "runs").exists()


def outcome(valid: bool) -> Outcome:
    validity = {"valid": valid, "reasons": [] if valid else ["late"], "advice": []}
    facts = {"run_id": "1", "engine": "emulation", "fabric": "relay", "nodes": "process"}
    metrics = {"speculative": {"tpot_ms": {"median": 2.0, "ci95": None, "p95": 3.0, "n": 3}}}
    lossless = {"checked": 0, "equal": 0}
    return Outcome(Path("runs/x"), {**facts, "validity": validity, "lossless": lossless, "policies": metrics}, {})


def attempts(tmp_path: Path, retries: int, *results: bool | TestbedError) -> tuple[Any, int, Path]:
    """What comes of attempts that end as given, how many there were, and the JUnit file."""
    scenario = load_scenario(experiment(tmp_path, matrix=None, policies=["speculative"]), [])
    junit = tmp_path / "j.xml"
    wanted = judged.Judged(scenario, ["tpot_ms < 1"], retries, junit)
    left = list(results)

    def attempt() -> Outcome:
        one = left.pop(0)
        if isinstance(one, TestbedError):
            raise one
        return outcome(one)

    try:
        found = wanted.status(*wanted.run(attempt))
    except TestbedError as error:
        return error, len(results) - len(left), junit
    return found, len(results) - len(left), junit


def test_retries_are_for_runs_that_are_not_valid(tmp_path: Path) -> None:
    assert attempts(tmp_path, 2, False, RunInvalid("died"), True)[:2] == (5, 3)
    earlier = ElementTree.parse(tmp_path / "j.xml").getroot().findtext("testsuite/system-out")
    assert earlier == "attempt 1 was not valid: late\nattempt 2 was not valid: died"
    assert attempts(tmp_path, 2, True, False)[:2] == (5, 1)  # an assertion that fails is not tried again
    assert attempts(tmp_path, 1, False, False)[:2] == (3, 2)
    assert attempts(tmp_path, 0, False)[:2] == (3, 1)


def test_what_did_not_finish_is_in_the_file_too(tmp_path: Path) -> None:
    error, tried, junit = attempts(tmp_path, 3, MachineCannot("no TUN"))
    assert isinstance(error, MachineCannot) and tried == 1
    kinds = [[child.tag for child in one] for one in ElementTree.parse(junit).getroot().iter("testcase")]
    assert kinds == [["error"], ["skipped"]]
    error, tried, _ = attempts(tmp_path, 1, RunInvalid("died"), RunInvalid("again"))
    assert isinstance(error, RunInvalid) and tried == 2
