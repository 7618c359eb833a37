"""What a simulated experiment takes away for good: what needs it is given up and named, what does not goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from testbed.network.spec.schedule import PairEvent, PairSchedule
from testbed.simulation.engine import rows_of, simulate, write_run
from testbed.simulation.inputs import SimulationInputs
from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from tests.simulation.made_up import decode_table, inputs_of, scenario

MS = 1_000_000
TABLE = decode_table(0.75)
ENTROPIES = ByOutcome(Exponential(0.3), Exponential(1.5))
# With second choices, and as deep as a device drafts that asks again and again.
DEEP = iid_table(made_up_prompts(4, 16, 1), 60, 0.75, ENTROPIES, ENTROPIES, 1, depth=64, second_match_rate=0.5)
SILENT: dict[str, Any] = {"wanspec": {"silence_ms": 300, "label": "silent"}}
EXPECTED: dict[str, Any] = {"wanspec": {"rule": "expected_arrival", "label": "expected"}}


def outcome(*policies: Any, stop: str, at_s: float = 0.5, table: Any = TABLE) -> tuple[dict[str, list[int]], Any]:
    made = scenario(*policies, events=[{"at_s": at_s, "stop_node": stop}])
    inputs = inputs_of(made, table)
    simulated = simulate(inputs)
    return simulated.given_up, rows_of(inputs, simulated)["requests"]


def test_a_worker_that_stops_is_waited_for_by_the_listing_alone() -> None:
    given_up, requests = outcome("wanspec", SILENT, EXPECTED, "sled", "speculative", stop="drafter0")
    assert set(given_up) == {"wanspec"}
    for label in ("silent", "expected", "sled", "speculative"):
        assert [row.lossless for row in requests if row.policy == label] == [True] * 4


@pytest.mark.parametrize("silent", [{"branches": 2}, {"k": 4}, {"rule": "expected_arrival", "branches": 2}])
def test_trees_and_longer_drafts_go_on_without_a_worker_too(silent: dict[str, Any]) -> None:
    given_up, requests = outcome({"wanspec": {**silent, "silence_ms": 300}}, stop="drafter0", table=DEEP)
    assert given_up == {} and [row.lossless for row in requests] == [True] * 4


@pytest.mark.parametrize("policy", ["autoregressive", "speculative", "wanspec", "sled", "centralised", SILENT])
def test_without_the_target_what_is_open_is_given_up(policy: Any) -> None:
    given_up, requests = outcome(policy, stop="target0")
    (numbers,) = given_up.values()
    assert len(numbers) + len(requests) == 4 and numbers
    assert all(row.lossless for row in requests)


@pytest.mark.parametrize("policy", ["autoregressive", "speculative", SILENT, "sled", "centralised"])
def test_with_another_target_everything_goes_on(policy: Any) -> None:
    """Requests of the one that stopped move; what is logged of them agrees with itself."""
    made = scenario(
        policy, place={"user": {"near": 2}, "target": ["near", "far"], "drafter": "far"},
        routing={"rule": "round_robin", "failover_ms": 750}, events=[{"at_s": 0.2, "stop_node": "target0"}],
    )  # fmt: skip
    inputs = inputs_of(made, DEEP)
    simulated = simulate(inputs)
    rows = rows_of(inputs, simulated)
    assert simulated.given_up == {} and [row.lossless for row in rows["requests"]] == [True] * 4
    served = {one: {row.node for row in rows["rounds"] if row.request == one} for one in (0, 1, 2, 3)}
    assert {"target0", "target1"} in served.values(), "one of them was in the middle"


def test_a_users_node_takes_its_own_requests_along_and_no_others() -> None:
    made = scenario(
        "speculative", place={"user": {"near": 2}, "target": "near", "drafter": "far"},
        events=[{"at_s": 0.5, "stop_node": "user1"}],
    )  # fmt: skip
    simulated = simulate(inputs_of(made, TABLE))
    assert simulated.given_up == {"speculative": [2, 4]}
    assert [row.request for row in simulated.log.requests] == [1, 3]


def test_a_device_that_asks_again_for_ever_is_given_up_too() -> None:
    given_up, _ = outcome({"sled": {"timeout_ms": 50}}, stop="target0", table=DEEP)
    assert given_up["sled"]


def cut(*events: PairEvent) -> SimulationInputs:
    inputs = inputs_of(scenario("wanspec", SILENT), TABLE)
    schedules = {("far", "near"): PairSchedule(None, events)}
    return dataclasses.replace(inputs, experiment=dataclasses.replace(inputs.experiment, schedules=schedules))


def test_one_direction_that_is_cut_for_good_is_a_silent_worker() -> None:
    simulated = simulate(cut(PairEvent(300 * MS, up=False)))
    assert set(simulated.given_up) == {"wanspec"}
    assert len([row for row in simulated.log.requests if row.policy == "silent"]) == 4


def test_a_phase_that_gave_up_met_its_event(tmp_path: Path) -> None:
    """Its last answer may have come before: it went on all the same."""
    inputs = inputs_of(scenario("speculative", events=[{"at_s": 1.5, "stop_node": "target0"}]), TABLE)
    simulated = simulate(inputs)
    assert simulated.given_up and max(row.finished_ns for row in simulated.log.requests) < 1.5e9
    data, summary = write_run(inputs, simulated, "id", tmp_path)
    assert "unmet_events" not in summary and data.manifest["phases"][0]["lasted_s"] > 10
    assert "timed out as expected" in " ".join(summary["validity"]["reasons"])
