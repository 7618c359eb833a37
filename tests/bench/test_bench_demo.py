"""The trial of the demo judges the first of a clone's runs: a second chance must not pass for a first."""

import json
import os
from pathlib import Path

from testbed.bench.demo import Trial, first_run, sentence


def _run(runs: Path, name: str, valid: bool, at: int) -> None:
    (runs / name).mkdir(parents=True)
    path = runs / name / "summary.json"
    path.write_text(json.dumps({"validity": {"valid": valid, "reasons": []}}))
    os.utime(path, (at, at))


def test_the_first_run_of_a_clone_is_judged_and_not_its_second(tmp_path: Path) -> None:
    _run(tmp_path, "quickstart-1.2", True, at=200)
    _run(tmp_path, "quickstart-1", False, at=100)
    (tmp_path / "latest").symlink_to("quickstart-1.2")
    found = first_run(tmp_path)
    assert found is not None and not found["validity"]["valid"]


def test_a_clone_without_a_run_has_none(tmp_path: Path) -> None:
    assert first_run(tmp_path) is None


def test_the_reasons_of_a_run_that_is_not_valid_are_said() -> None:
    said = sentence(Trial(3, False, 200.0, 0.022, ("2.2% of passes took longer",)))
    assert said == "not valid at the first try (status 3), 200 s, 2.20 % of passes late; 2.2% of passes took longer"
