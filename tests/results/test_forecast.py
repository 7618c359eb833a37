"""What was expected beside what came."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.results.forecast import beside, compared, duration, sentence

PLAN: dict[str, Any] = {
    "dilation": 1.0, "why": "real passes and the shaper keep up", "valid": True, "requests_s": 100.0, "wall_s": 110.0,
    "held_share": 0.01, "late_share": 0.0, "durations": "simulated", "pilot_s": 1.5, "needs": [],
}  # fmt: skip
SUMMARY = {"validity": {"valid": False}, "clock": {"held_share": 0.02}, "compute": {"overrun_share": 0.03}}
TIMINGS = {"network": 5.0, "requests": 105.0, "report": 2.0}


def test_a_run_is_held_against_its_plan() -> None:
    found = beside({"plan": PLAN}, SUMMARY, TIMINGS)
    assert found is not None
    assert found["seen"] == {
        "valid": False, "requests_s": 105.0, "wall_s": 112.0, "held_share": 0.02, "late_share": 0.03,
    }  # fmt: skip
    assert (found["requests_error"], found["wall_error"], found["verdict_right"]) == (0.05, 0.0182, False)
    assert found["dilation"] == 1.0 and "needs" not in found
    assert compared(found) == (
        "1 min 50 s expected, 1 min 52 s came (+2%; requests +5%); not valid, valid was expected; clock held for 2.0%, "
        "expected 1.0%"
    )


def test_a_run_without_a_plan_has_none() -> None:
    assert beside({}, SUMMARY, TIMINGS) is None


def test_a_length_that_was_not_known_has_no_error() -> None:
    unknown = {**PLAN, "requests_s": None, "wall_s": None, "valid": False}
    found = beside({"plan": unknown}, SUMMARY, TIMINGS)
    assert found is not None and found["wall_error"] is None and found["requests_error"] is None
    assert compared(found).startswith("no forecast of its length, 1 min 52 s came; not valid, as expected")
    assert "of unknown length" in sentence(unknown)


def test_what_is_to_be_expected_is_one_line() -> None:
    assert sentence(PLAN) == (
        "valid at dilation 1 (real passes and the shaper keep up), 1 min 50 s in all, 1 min 40 s of it requests; clock "
        "held for 1.0%"
    )


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.4, "3 s"), (59.4, "59 s"), (60.0, "1 min 0 s"), (160.2, "2 min 40 s"), (7500, "2 h 5 min")]
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
