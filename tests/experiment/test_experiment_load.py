"""A load decides when requests come and how long they are, the same way wherever an experiment is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.cli.record import record_experiment
from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.load import LoadKeys, sent
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario
from testbed.models.facts import tokenizer_of
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.tables.stretched import POOL
from testbed.workload.load.source import load_load
from testbed.workload.made import Text
from tests.run_examples import SMALL

EVEN = "arrival_s,input_tokens,output_tokens,session\n" + "".join(
    f"{number},{100 + number},{1 + number % 5},{'ab'[number % 2] if number < 6 else ''}\n" for number in range(100)
)


def even(folder: Path) -> Path:
    path = folder / "even.csv"
    path.write_text(EVEN)
    return path


def scenario(folder: Path, load: dict[str, Any], **changes: Any) -> Scenario:
    workload = {"prompts": "prose", "load": str(even(folder)), **load}
    return Scenario.model_validate({**SMALL, "workload": workload, **changes})


def planned(one: Scenario, repeat: int = 0) -> Any:
    found = resolve(one)
    return found.plan(tokenizer_of("tiny-target").encode, (0,), 1, repeat)


def test_a_trace_is_sent_as_it_was(tmp_path: Path) -> None:
    one = scenario(tmp_path, {"window": [0, 20]})
    assert (one.workload.requests, one.workload.output_tokens) == (20, 5)
    assert one.workload.arrivals == "load" and one.workload.ignore_eos
    plan = planned(one)
    assert [each.due_ms for each in plan] == [number * 1e3 for number in range(20)]
    assert [len(each.prompt) for each in plan] == [100 + number for number in range(20)]
    assert [each.max_tokens for each in plan] == [1 + number % 5 for number in range(20)]
    assert all(each.eos == () for each in plan), "no text ends an answer"
    facts = resolve(one).facts()["load"]
    assert facts["kind"] == "trace, other" and "no text ends them" in facts["answers"]


def test_time_tokens_and_rate_are_scaled(tmp_path: Path) -> None:
    plan = planned(scenario(tmp_path, {"window": [10, 20], "time_scale": 0.5, "token_scale": 0.01}))
    assert [each.due_ms for each in plan] == [500.0 * number for number in range(10)]
    assert {len(each.prompt) for each in plan} == {1} and {each.max_tokens for each in plan} == {1}
    assert scenario(tmp_path, {"rate_scale": 3.0, "window": [0, 50]}).workload.requests == 150
    assert scenario(tmp_path, {"rate_scale": 0.2}).workload.requests == pytest.approx(20, abs=12)


def test_a_load_is_not_thinned_to_next_to_nothing(tmp_path: Path) -> None:
    """Its generator would count through the window's every moment for one request in ages."""
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.000001"):
        scenario(tmp_path, {"rate_scale": 1e-300})


def test_repeats_have_as_many_requests_and_other_draws(tmp_path: Path) -> None:
    one = scenario(tmp_path, {"load": "azure-2023-conv", "rate_scale": 0.05, "window": [0, 300]}, repeats=3)
    plans = [planned(one, repeat) for repeat in range(3)]
    assert {len(plan) for plan in plans} == {one.workload.requests}
    assert plans[0][0].due_ms != plans[1][0].due_ms


def test_what_is_written_decides_and_a_run_s_own_file_says_the_same(tmp_path: Path) -> None:
    one = scenario(tmp_path, {"requests": 7, "output_tokens": 2})
    plan = planned(one)
    assert len(plan) == 7 and max(each.max_tokens for each in plan) == 2
    assert Scenario.model_validate(one.resolved()) == one
    plain = Scenario.model_validate(SMALL).resolved()["workload"]
    assert not {"load", "rate_scale", "window"} & plain.keys(), "experiments without a load keep their run ids"


def test_lengths_of_a_load_with_other_arrivals(tmp_path: Path) -> None:
    arrivals = {"closed_loop": {"stagger_s": 0, "think_s": 5}}
    place = {"user": {"near": 2}, "target": "near", "drafter": "far"}
    plan = planned(scenario(tmp_path, {"requests": 400 // 8, "arrivals": arrivals}, place=place))
    assert [len(each.prompt) for each in plan[:3]] == [100, 101, 102]
    assert {each.due_ms for each in plan} == {None}
    thought = [each.think_ms for each in plan]
    assert thought[:2] == [0.0, 0.0] and sum(thought) / 48 == pytest.approx(5000, rel=0.6)


def test_a_conversation_is_one_user_s(tmp_path: Path) -> None:
    place = {"user": {"near": 3}, "target": "near", "drafter": "far"}
    plan = planned(scenario(tmp_path, {"window": [0, 6]}, place=place))
    assert len({each.user for each in plan[0::2]}) == len({each.user for each in plan[1::2]}) == 1


def test_sites_have_the_load_of_their_own_hour() -> None:
    load = load_load("azure-2024-code")
    day = 86_400.0
    keys = LoadKeys(load="azure-2024-code", rate_scale=0.002, window=(3 * day, 4 * day), local_time={"a": 0, "b": 12})
    found = list(sent(keys, load, ["a", "b"], 1))
    assert [one.at_s for one in found] == sorted(one.at_s for one in found)

    def busiest(user: int) -> float:
        hours = [int(one.at_s // 3600) for one in found if one.user == user]
        return max(range(24), key=hours.count)

    assert busiest(0) in range(14, 23)  # a coding assistant's evening in UTC
    assert (busiest(0) - busiest(1)) % 24 == pytest.approx(12, abs=3)
    halves = [sum(one.user == user for one in found) for user in (0, 1)]
    whole = list(sent(keys.model_copy(update={"local_time": None}), load, ["a", "b"], 1))
    assert sum(halves) == pytest.approx(len(whole), rel=0.25), "all sites together have the load's rate"


REFUSED: dict[str, dict[str, Any]] = {
    "rate_scale has no effect without a load": {"load": None, "rate_scale": 2.0},
    "arrivals: load needs a load": {"load": None, "arrivals": "load", "requests": 1},
    "a load says how long answers are": {"ignore_eos": False},
    "window is .20.0, 10.0.": {"window": [20.0, 10.0]},
    "local_time: no user is at 'mars'": {"local_time": {"near": 0, "mars": 3}},
    "local_time: 'near' has users and no local time": {"local_time": {}},
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_keys_without_effect_are_refused(tmp_path: Path, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        scenario(tmp_path, {"requests": 1, **REFUSED[complaint]})


def test_windows_without_requests_or_with_too_many_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no requests in this window; widen"):
        scenario(tmp_path, {"window": [10.2, 10.8]})
    with pytest.raises(BadInput, match=r"more than 100000 requests of servegen-m-large are in this window"):
        scenario(tmp_path, {"load": "servegen-m-large"})
    with pytest.raises(BadInput, match=r"holds 10; use fewer"):
        planned(scenario(tmp_path, {"window": [0, 10], "requests": 11}))
    with pytest.raises(BadInput, match=r"load 'azure-2025' is not in workloads/load/; did you mean"):
        scenario(tmp_path, {"load": "azure-2025"})


def test_a_load_beside_an_experiment_is_found_from_anywhere(tmp_path: Path) -> None:
    import yaml

    even(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**SMALL, "workload": {"prompts": "prose", "load": "even.csv"}}))
    assert load_scenario(tmp_path / "mine.yaml").workload.requests == 100


def test_made_prompts_follow_from_their_names() -> None:
    text = Text([("a", (1, 2, 3)), ("b+1", (4, 5))])
    assert text.tokens("a+2") == (1, 2) and text.tokens("a+7") == (1, 2, 3, 4, 5, 1, 2)
    assert text.tokens("b+1+3") == (4, 5, 1)
    with pytest.raises(KeyError):
        text.tokens("c+2")


@pytest.mark.parametrize("outcomes", [{"iid": {"match": 0.8}}, {"drawn": {"table": "tiny-prose"}}])
def test_made_up_outcomes_serve_any_length(tmp_path: Path, outcomes: dict[str, Any]) -> None:
    one = scenario(tmp_path, {"window": [0, 90], "token_scale": 40.0}, outcomes=outcomes)
    found = from_scenario(one, None, NO_OVERHEADS, lambda text: None)
    assert len(found.table.prompts) <= POOL
    for each in found.plan(1, 0):
        output = found.table.output(each.prompt_id, each.sampling)
        assert output is not None and output.prompt == each.prompt and len(output.tokens) >= each.max_tokens
    assert len(found.plan(1, 0)[0].prompt) == 4000


def test_recorded_outcomes_of_other_prompts_are_refused(tmp_path: Path) -> None:
    one = scenario(tmp_path, {"window": [0, 5]})
    with pytest.raises(BadInput, match=r"no decode table .*; record one: testbed record --experiment FILE .*, or make"):
        from_scenario(one, None, NO_OVERHEADS, lambda text: None)


@pytest.mark.slow
def test_a_table_recorded_of_the_experiment_answers_for_its_load(tmp_path: Path) -> None:
    """The models' own outputs on the made prompts, as long as the load says, in a simulation of the same file."""
    import yaml

    even(tmp_path)
    path, out = tmp_path / "mine.yaml", tmp_path / "mine.parquet"
    workload = {"prompts": "prose", "load": "even.csv", "window": [0, 4]}
    path.write_text(yaml.safe_dump({**SMALL, "workload": workload, "outcomes": {"table": str(out)}}))
    assert f"{out}: 4 prompts, 10 output tokens" in record_experiment(str(path), 17, out, True, lambda text: None)
    found = from_scenario(load_scenario(path), None, NO_OVERHEADS, lambda text: None)
    assert not found.table.synthetic
    plan = found.plan(1, 0)
    assert plan == planned(load_scenario(path)), "tokens and lengths are those that an emulation sends"
    assert [len(found.expected(one)) for one in plan] == [1, 2, 3, 4]
    assert {row.lossless for row in rows_of(found, simulate(found))["requests"]} == {True}
    without = Scenario.model_validate({**SMALL, "outcomes": {"table": str(out)}})
    with pytest.raises(BadInput, match=r"its prompts were made for load .*even.csv"):
        from_scenario(without, None, NO_OVERHEADS, lambda text: None)
