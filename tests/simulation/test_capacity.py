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
from testbed.results.records import RequestRow
from testbed.simulation import capacity as module
from testbed.simulation.capacities import capacities, parse_rates
from testbed.simulation.capacity import Probe, SearchOptions, find_capacity, kept, probe, search
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS, run_phase
from tests.simulation.made_up import T_TARGET, decode_table, inputs_of, rows, scenario

QUICK = SearchOptions(duration_s=30.0, stagger_s=3.0, most_users=64)
FLEET = Path(__file__).parents[2] / "experiments/wisp/fleet.yaml"


@pytest.mark.parametrize("true", [0, 1, 5, 16, 17, 31, 100, 512, 4000])
@pytest.mark.parametrize("precision", [0.0, 0.02])
def test_bisection_finds_the_edge(true: int, precision: float) -> None:
    tried: list[int] = []

    def inside(users: int) -> bool:
        tried.append(users)
        return users <= true

    found = search(inside, 512, precision)
    assert found == pytest.approx(min(true, 512), abs=max(0.0, precision * true)) and found <= true
    assert len(tried) == len(set(tried)) <= 16


@pytest.mark.parametrize("rate_per_s", [2.0, 4.0, 8.0])
def test_a_server_that_decodes_one_token_at_a_time_carries_what_division_says(rate_per_s: float) -> None:
    """Each of N users gets one token in N passes: capacity is the largest N with 1 / (N * 23.4 ms) >= rate."""
    made = scenario("autoregressive")
    found = find_capacity(inputs_of(made, decode_table(0.5), rtt_ms=0.0), made.policies[0], rate_per_s, QUICK)
    assert found.users == math.floor(1e3 / T_TARGET / rate_per_s)
    assert found.at_capacity is not None and found.at_capacity.violations == 0
    assert found.at_capacity.token_goodput == pytest.approx(1e3 / T_TARGET, rel=0.03)
    assert found.beyond == found.users + 1 and found.surely <= found.users


def test_a_mixed_fleet_is_judged_by_its_class_with_the_most_violations() -> None:
    """All users get the same rate here: what 8 tokens/s allow, whatever share of the users was promised 2."""
    made = scenario("autoregressive")
    inputs = inputs_of(made, decode_table(0.5), rtt_ms=0.0)
    found = find_capacity(inputs, made.policies[0], (2.0, 8.0, 2.0), QUICK)
    most = math.floor(1e3 / T_TARGET / 8.0)
    assert found.users == most and found.rate_per_s == (2.0, 8.0, 2.0)
    assert found.at_capacity is not None and [missed for _, _, missed in found.at_capacity.by_class] == [0, 0]
    over = next(one for one in found.probes if one.users == most + 1)
    (slow, slow_requests, slow_missed), (quick, quick_requests, quick_missed) = over.by_class
    assert (slow, quick) == (2.0, 8.0) and slow_missed == 0 and quick_missed == over.violations > 0
    assert slow_requests + quick_requests == over.requests
    assert over.share == quick_missed / quick_requests > 0.5 > over.violations / over.requests
    assert over.interval == Probe(1, quick_requests, quick_missed, 0.0).interval


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
    assert whole.share > 0.8 and after_first.share == 0.0  # the first in each probe need not wait


def test_the_interval_of_a_share_is_wilson_s() -> None:
    """20 of 100: 0.1334 to 0.2888; none of 50: up to 0.0713."""
    assert Probe(1, 100, 20, 0.0).interval == pytest.approx((0.1334, 0.2888), abs=1e-4)
    assert Probe(1, 50, 0, 0.0).interval == pytest.approx((0.0, 0.0713), abs=1e-4)


def test_a_request_exactly_at_its_rate_keeps_it() -> None:
    row = RequestRow("p", 0, "user0", 1, "a", 3, 11, 0, 0, 500_000_000, 2_500_000_000, (), (), tuple(range(11)), None)
    assert kept(row, 5.0, "after_first") and not kept(row, 5.01, "after_first")
    assert kept(row, 4.4, "whole") and not kept(row, 4.41, "whole")


def test_users_stop_asking_at_the_end_of_a_probe_and_what_is_open_is_answered() -> None:
    made = scenario(
        "autoregressive", requests=40, place={"user": {"near": 4}, "target": "near", "drafter": "far"},
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
    monkeypatch.setattr(module, "FASTEST_PER_S", 2.0)
    made = scenario("autoregressive")
    with pytest.raises(RunInvalid, match="ran out of requests"):
        probe(inputs_of(made, decode_table(0.5)), made.policies[0], 4.0, 1, QUICK)


def test_rates_and_labels_are_checked_before_anything_runs() -> None:
    assert parse_rates("2,4.5,2+4+2") == [2.0, 4.5, (2.0, 4.0, 2.0)]
    for text in ("", "2,x", "0,1", "2+", "2+0", "nan", "2+inf"):
        with pytest.raises(BadInput, match="--rates"):
            parse_rates(text)
    with pytest.raises(BadInput, match=r"--policy wips: not in the experiment; its policies are .*wisp"):
        list(capacities(FLEET, (), (4.0,), ("wips",), QUICK, None, 1, print))


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
