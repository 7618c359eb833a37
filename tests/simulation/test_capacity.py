"""Capacity against arithmetic, the closed loop that probes it, and WISP's fleet in virtual time."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BadInput, RunInvalid
from testbed.experiment.document import load_scenario
from testbed.experiment.requests import plan_requests
from testbed.experiment.scenario import Scenario
from testbed.simulation import probing
from testbed.simulation.capacities import capacities, parse_rates, parse_seeds
from testbed.simulation.capacity import SearchOptions, find_capacity
from testbed.simulation.capacityrows import curve
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import from_scenario
from testbed.simulation.probing import dealt, probe
from testbed.simulation.world import NO_OVERHEADS, run_phase
from testbed.workload.slo import SCOPES, kept
from tests.simulation.made_up import T_TARGET, decode_table, inputs_of, rows, scenario

IN_TURN = {"autoregressive": {"max_batch": 1}}  # one token of one user at a time: capacities by division
QUICK = SearchOptions(duration_s=30.0, stagger_s=3.0, most_users=64)
FLEET = Path(__file__).parents[2] / "experiments/wisp/fleet.yaml"


@pytest.mark.parametrize("rate_per_s", [2.0, 4.0, 8.0])
def test_a_server_that_decodes_one_token_at_a_time_carries_what_division_says(rate_per_s: float) -> None:
    """Each of N users gets one token in N passes: capacity is the largest N with 1 / (N * 23.4 ms) >= rate, for every
    request, every user, and the fleet, whose early requests had fewer beside them."""
    made = scenario(IN_TURN)
    most = math.floor(1e3 / T_TARGET / rate_per_s)
    inputs = inputs_of(made, decode_table(0.5, prompts=8), rtt_ms=0.0)
    found = find_capacity([inputs], made.policies[0], rate_per_s, QUICK)
    assert found.scopes["per_request"].users == most
    assert found.scopes["per_user"].users in (most, most + 1)
    assert most <= found.scopes["fleet"].users <= 1.1 * most + 1
    at = found.at("per_request")
    assert at is not None and at.violations == 0 and at.measures["fleet"][0] <= 1
    assert at.goodput("per_request") == pytest.approx(1e3 / T_TARGET, rel=0.03)
    assert at.goodput("per_request") == at.goodput("per_user") == at.goodput("fleet")
    assert at.emitted_per_user == pytest.approx(1e3 / T_TARGET / most, rel=0.03)
    low, high = found.scopes["per_request"].interval
    assert low <= most <= high and high - low <= max(2, 0.2 * most)


def test_a_mixed_fleet_is_judged_by_its_class_with_the_most_violations() -> None:
    """All users get the same rate here: what 8 tokens/s allow, whatever share of the users was promised 2."""
    made = scenario(IN_TURN)
    inputs = inputs_of(made, decode_table(0.5), rtt_ms=0.0)
    found = find_capacity([inputs], made.policies[0], (2.0, 8.0, 2.0), QUICK)
    most = math.floor(1e3 / T_TARGET / 8.0)
    assert found.scopes["per_request"].users == most and found.rate_per_s == (2.0, 8.0, 2.0)
    at = found.at("per_request")
    assert at is not None and [missed for _, _, missed in at.by_class] == [0, 0]
    over = next(one for one in found.levels if one.users == most + 1)
    (slow, slow_requests, slow_missed), (quick, quick_requests, quick_missed) = over.by_class
    assert (slow, quick) == (2.0, 8.0) and slow_missed == 0 and quick_missed == over.violations > 0
    assert slow_requests + quick_requests == over.requests
    assert over.measures["per_request"][0] == quick_missed / quick_requests > 0.5 > over.violations / over.requests


def test_a_server_that_keeps_users_waiting_has_kept_no_promise() -> None:
    """A static batch of one serves a user quickly and the others not at all: only the whole request shows that."""
    made = scenario(
        {"centralised": {"mode": "as_reported", "max_batch": 1}}, devices={
            "target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"
        }
    )  # fmt: skip
    inputs = inputs_of(made, decode_table(0.5))
    whole, after_first = (
        probe(inputs, made.policies[0], 8.0, 12, dataclasses.replace(QUICK, window=window))
        for window in ("whole", "after_first")
    )
    share = [float((~kept(one.tokens, one.seconds, one.rate)).mean()) for one in (whole, after_first)]
    assert share[0] > 0.8 and share[1] == 0.0  # the first in each probe need not wait


def test_seeds_deal_prompts_and_draws_of_their_own_and_a_set_of_them_is_one_search() -> None:
    made = scenario(IN_TURN)
    table = decode_table(0.5, prompts=8)
    each = [inputs_of(made.model_copy(update={"seed": seed}), table, rtt_ms=0.0) for seed in (1, 2, 3)]
    options = dataclasses.replace(QUICK, seeds=(1, 2, 3), scopes=("per_request",), duration_s=10.0)
    found = find_capacity(each, made.policies[0], 8.0, options)
    assert {len(one.fleets) for one in found.levels} == {3} and set(found.scopes) == {"per_request"}
    orders = {tuple(prompt.id for prompt in dealt(one).experiment.prompts.prompts) for one in each}
    assert len(orders) == 3 and {tuple(sorted(one)) for one in orders} == {tuple(sorted(table.prompts))}
    with pytest.raises(BadInput, match="3 seeds need as many inputs, not 1"):
        find_capacity(each[:1], made.policies[0], 8.0, options)


def test_the_saturation_curve_has_the_points_that_were_asked_for() -> None:
    made = scenario(IN_TURN)
    inputs = inputs_of(made, decode_table(0.5), rtt_ms=0.0)
    options = dataclasses.replace(QUICK, points=4, duration_s=10.0)
    found = find_capacity([inputs], made.policies[0], 8.0, options)
    rows = curve(found)
    assert len(rows) > 4 and [row["users"] for row in rows] == sorted({row["users"] for row in rows})
    largest = max(one.users for one in found.scopes.values())
    evenly = {round((largest + largest // 2) * part / 4) for part in (1, 2, 3, 4)}
    assert evenly <= {row["users"] for row in rows}
    for row in rows:
        assert row["offered_tokens_per_s"] == 8 * row["users"]
        goodput = [row[f"goodput_{scope}"] for scope in SCOPES]
        assert min(goodput) >= 0 and max(goodput) <= row["emitted_tokens_per_s"] + 1e-3
    beyond = [row for row in rows if row["users"] > 1.3 * found.scopes["fleet"].users]
    assert beyond and all(row["goodput_per_request"] < 0.7 * row["emitted_tokens_per_s"] for row in beyond)


def test_users_stop_asking_at_the_end_of_a_probe_and_what_is_open_is_answered() -> None:
    made = scenario(
        IN_TURN, requests=40, place={"user": {"near": 4}, "target": "near", "drafter": "far"},
        workload={"prompts": "made-up", "requests": 40, "output_tokens": 60,
                  "arrivals": {"closed_loop": {"stagger_s": 2.0}}},
    )  # fmt: skip
    table = decode_table(0.5)
    inputs = inputs_of(made, table)
    planned = plan_requests(made, inputs.experiment.prompts, inputs.encode, (), 1, 0)
    world = dataclasses.replace(inputs.world(), issue_until_ns=20_000_000_000)
    log = run_phase(world, made.policies[0], 0, planned, table)
    ends: dict[str, list[tuple[int, int]]] = {}
    for row in sorted(log.requests, key=lambda row: row.sent_ns):
        ends.setdefault(row.node, []).append((row.sent_ns, row.finished_ns))
    assert len(ends) == 4 and 4 < len(log.requests) < 40
    for spans in ends.values():
        assert spans[0][0] < 2_000_000_000 and spans[-1][0] < 20_000_000_000 <= spans[-1][1]
        for (_, end), (sent, _) in pairwise(spans):
            assert sent == end  # one request open at any time


def test_a_fleet_that_runs_out_of_requests_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "FASTEST_PER_S", 2.0)
    made = scenario(IN_TURN)
    with pytest.raises(RunInvalid, match="ran out of requests"):
        probe(inputs_of(made, decode_table(0.5)), made.policies[0], 4.0, 1, QUICK)


def test_rates_and_labels_are_checked_before_anything_runs() -> None:
    assert parse_rates("2,4.5,2+4+2") == [2.0, 4.5, (2.0, 4.0, 2.0)]
    for text in ("", "2,x", "0,1", "2+", "2+0", "nan", "2+inf"):
        with pytest.raises(BadInput, match="--rates"):
            parse_rates(text)
    with pytest.raises(BadInput, match=r"--policy wips: not in the experiment; its policies are .*wisp"):
        list(capacities(FLEET, (), (4.0,), ("wips",), (), QUICK, None, 1, print))
    made_up = ("outcomes={iid: {match: 0.8}}",)
    with pytest.raises(BadInput, match="outcomes are made up here, and so are their prompts"):
        list(capacities(FLEET, made_up, (4.0,), (), ("prose",), QUICK, None, 1, print))


def test_seeds_are_a_list_or_a_range() -> None:
    assert parse_seeds(None) == () and parse_seeds("1,2,7-9") == (1, 2, 7, 8, 9)
    for text in ("", "x", "1,1", "3-1", "1-2-3", "0-5000"):
        with pytest.raises(BadInput, match="--seeds"):
            parse_seeds(text)


@pytest.mark.parametrize(
    "wisp", [{"stop": "svip", "threshold": 0.05}, {"stop": "fixed", "max_draft": 4, "estimator": "online"}]
)
def test_wisp_is_lossless_in_virtual_time_and_gives_the_same_bytes_again(wisp: dict[str, object]) -> None:
    table = decode_table(0.8, prompts=6)
    settings: dict[str, Any] = {
        "place": {"user": {"near": 3}, "target": "near"}, "devices": {
            "target": "a100-80gb/qwen3-32b", "drafter": "jetson-orin-nano/qwen3-0.6b-q4"
        },
    }  # fmt: skip
    first = rows(table, {"wisp": wisp}, **settings)
    assert all(row.lossless for row in first["requests"]) and len(first["requests"]) == 6
    assert first == rows(table, {"wisp": wisp}, **settings)
    assert max(step.batch for step in first["steps"]) > 1


def test_the_shipped_fleet_runs_its_trained_controller_on_the_shipped_table() -> None:
    asked = load_scenario(FLEET, ["workload.requests=9", "place.user={us-east-2: 3}", "workload.output_tokens=40"])
    inputs = from_scenario(asked, None, NO_OVERHEADS, lambda line: None)
    log = rows_of(inputs, simulate(inputs))
    assert all(row.lossless for row in log["requests"])
    promised = {row.request: row.slo_tokens_per_s for row in log["requests"]}
    assert [promised[number] for number in (1, 2, 3, 4)] == [2.0, 4.0, 6.0, 2.0]  # three users
    drafts = [row.drafts for row in log["rounds"] if row.policy == "wisp"]
    assert 1 < sum(drafts) / len(drafts) < 4 and max(drafts) > 4  # it stops early, and not always


def test_a_fall_back_cannot_be_simulated() -> None:
    """A decode table holds the target's own text: what follows a wrong token that was handed out is not in it."""
    asked = load_scenario(FLEET, ["policies=[{sled: {timeout_ms: 500, fall_back: 3}}]"])
    with pytest.raises(BadInput, match=r"fall_back emits unverified tokens.*--engine emulation"):
        from_scenario(asked, None, NO_OVERHEADS, lambda line: None)


@pytest.mark.parametrize("policy", ["centralised", {"sled": {"wait_ms": 20.0}}, {"wisp": {"basis": "whole"}}])
def test_a_log_of_requests_alone_has_the_same_requests(policy: object) -> None:
    asked = load_scenario(FLEET, ["workload.requests=12", "place.user={us-east-2: 4}", "workload.output_tokens=30"])
    made = Scenario.model_validate({**asked.model_dump(), "policies": [policy]})
    inputs = from_scenario(made, None, NO_OVERHEADS, lambda line: None)
    planned = plan_requests(made, inputs.experiment.prompts, inputs.encode, (), 1, 0)
    whole, light = (
        run_phase(dataclasses.replace(inputs.world(), detailed=detailed), made.policies[0], 0, planned, inputs.table)
        for detailed in (True, False)
    )
    assert whole.requests == light.requests and len(light.requests) == 12
    assert whole.steps and whole.messages and not (light.steps or light.rounds or light.messages)
