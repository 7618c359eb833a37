"""When a held clock makes a run not valid, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.network.spec.fabric import ON_RUN_CLOCK
from testbed.results import heldclock
from testbed.results.stamps import stamps


def manifest(fabric: str, share: float, broken: int = 0) -> dict[str, Any]:
    holders = {"relay": {"ms": 5.0, "times": 2, "longest_ms": 3.0, "broken": 0}}
    holders["target0"] = {"ms": 50.0, "times": 1, "longest_ms": 50.0, "broken": broken}
    phase = {"policy": "wanspec", "repeat": 0, "wall_s": 10.0, "virtual_s": 10.0 * (1 - share), "held_share": share,
             "speed": 1 - share, "holders": holders}  # fmt: skip
    return {"fabric": fabric, "clock": {"dilation": 1.0, "phases": [phase]}}


@pytest.mark.parametrize(
    ("fabric", "share", "said"),
    [
        ("relay", 0.0, ""),
        ("relay", 0.5, ""),
        ("relay", 0.81, "ran at 0.19 of its speed"),
        ("netem", 0.01, ""),
        ("netem", 0.02, "held for 2.0% of the time, allowed 1% on netem; target0 held it longest"),
        ("lab", 0.02, "held for 2.0% of the time, allowed 1% on lab; target0 held it longest"),
    ],
)
def test_how_long_it_may_be_held(fabric: str, share: float, said: str) -> None:
    found = list(heldclock.reasons(manifest(fabric, share)))
    assert len(found) == bool(said)
    assert all(said in one for one in found)


def test_a_hold_that_was_ended_by_force_is_named() -> None:
    (reason,) = heldclock.reasons(manifest("relay", 0.1, broken=1))
    assert "target0 held it for too long" in reason


def test_runs_without_such_a_clock_are_read_as_before() -> None:
    assert heldclock.summary({"fabric": "relay"}) is None
    assert list(heldclock.reasons({"fabric": "relay"})) == []


def test_the_summary_is_over_all_phases() -> None:
    whole = manifest("relay", 0.1)
    whole["clock"]["phases"].append({**whole["clock"]["phases"][0], "wall_s": 30.0, "virtual_s": 30.0})
    told = heldclock.summary(whole)
    assert told is not None
    assert {key: told[key] for key in ("dilation", "held_share", "speed", "wall_s", "virtual_s")} == {
        "dilation": 1.0, "held_share": 0.025, "speed": 0.975, "wall_s": 40.0, "virtual_s": 39.0,
    }  # fmt: skip
    assert "2.50%" in heldclock.sentence(told)


def test_a_dilated_run_says_both_times_and_stamps_its_dilation() -> None:
    whole = {**manifest("relay", 0.1), "clock": {**manifest("relay", 0.1)["clock"], "dilation": 4.0}}
    whole["clock"]["phases"][0] |= {"virtual_s": 2.25, "speed": 0.225}
    told = heldclock.summary(whole)
    assert told is not None
    said = heldclock.sentence(told)
    assert said.startswith("at dilation 4 2 s took 10 s of this machine's time; the run's clock was held for 10.00% of")
    assert heldclock.mark(told) == "dilation 4, clock held 10.00%"
    summary = {"validity": {"valid": True}, "engine": "emulation", "clock": told}
    (stamp,) = stamps(summary)
    assert (stamp.title, stamp.lines) == ("DILATION 4", (said,))
    assert stamps({**summary, "clock": {**told, "dilation": 1.0}}) == []


def test_the_fabrics_whose_packets_wait_are_those_on_the_runs_clock() -> None:
    assert {"relay"} == ON_RUN_CLOCK
