"""All points of an emulated sweep have one dilation, whoever chose it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.emulation import engine
from testbed.experiment.scenario import Scenario
from testbed.experiment.timing import Time
from testbed.results.rundir import Outcome
from testbed.sweeps.emulated import at, results
from testbed.sweeps.plan import Point
from tests.run_examples import SMALL


class Quiet:
    def note(self, text: str) -> None:
        pass


def point(number: int, **changes: object) -> Point:
    scenario = Scenario.model_validate({**SMALL, "seed": number, **changes})
    return Point(number, {"seed": number}, scenario, run_id=f"id{number}")


def test_what_the_first_point_chose_holds_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[float | None] = []

    def run(scenario: Scenario, options: Any, progress: Any) -> Outcome:
        asked.append(scenario.time.given)
        summary = {
            "clock": {"dilation": scenario.time.given or 2.5}, "validity": {"valid": True, "reasons": []},
            "lossless": {"checked": 1, "equal": 1}, "policies": {},
        }  # fmt: skip
        return Outcome(tmp_path / "run", summary, {})

    monkeypatch.setattr(engine, "run", run)
    found = [one for chunk in results([point(1), point(2), point(3)], (), "relay", tmp_path, Quiet()) for one in chunk]
    assert asked == [None, 2.5, 2.5]
    assert [one.dilation for one in found] == [2.5, 2.5, 2.5]
    asked.clear()
    list(results([point(4)], (), "relay", tmp_path, Quiet(), dilation=4.0))
    assert asked == [4.0], "a sweep that goes on keeps what it began with"


def test_what_was_asked_for_is_kept() -> None:
    scenario = Scenario.model_validate({**SMALL, "time": {"dilation": 3}})
    assert at(scenario, 2.0).time.given == 3.0
    free = Scenario.model_validate(SMALL)
    assert at(free, None).time.given is None and at(free, 2.0).time == Time(dilation=2.0)
