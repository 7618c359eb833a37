"""`workload.sessions` and `prefix_cache`: which texts begin alike, and what keeping them does to a run."""

from __future__ import annotations

import json
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from testbed.errors import BadInput
from testbed.experiment.scenario import Scenario
from testbed.policies.prefixcaching import PrefixCaching
from testbed.results.metrics import REGISTRY
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import SimulationInputs, from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.workload.planned import PlannedRequest, by_user
from tests.run_examples import SMALL

TALK: dict[str, Any] = {
    "prompts": "prose",
    "requests": 12,
    "output_tokens": 24,
    "sessions": {"turns": 3},
    "arrivals": {"closed_loop": {"think_s": 0.5}},
}
MADE_UP = {"iid": {"match": 0.8, "prompt_tokens": 120}}
TRACE = [  # time in ms, input and output tokens, blocks: a tree of texts
    (0, 1100, 5, [0, 1, 2]),
    (1000, 1500, 6, [0, 1, 3]),
    (2000, 600, 7, [9, 8]),
    (3000, 2100, 4, [0, 1, 3, 4, 5]),
    (4000, 1000, 4, [9, 7]),
]


def inputs(workload: dict[str, Any], **changes: Any) -> SimulationInputs:
    data = {**SMALL, "workload": workload, "outcomes": MADE_UP, "policies": ["autoregressive"], **changes}
    return from_scenario(Scenario.model_validate(data), None, NO_OVERHEADS, lambda text: None)


def plan(workload: dict[str, Any], **changes: Any) -> list[PlannedRequest]:
    return inputs(workload, **changes).plan(0, 0)


def shared(one: PlannedRequest, other: PlannedRequest) -> int:
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one.prompt, other.prompt, strict=False)))


def mooncake(folder: Path) -> str:
    path = folder / "trace.jsonl"
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in TRACE))
    return str(path)


# --- requests -----------------------------------------------------------------------------------------------------


def test_a_turn_is_the_last_one_and_more_and_conversations_begin_differently() -> None:
    found = by_user(plan(TALK, place=EDGE), ["user0", "user1"])
    firsts = []
    for requests in found.values():
        assert len(requests) == 6
        for session in (requests[:3], requests[3:]):
            for before, one in pairwise(session):
                assert one.prompt[: len(before.prompt)] == before.prompt
                assert len(one.prompt) > len(before.prompt) + 24  # with the answer's place, and something new
            firsts.append(session[0])
    assert all(shared(one, other) < 3 for one in firsts for other in firsts if one is not other)


def test_hashes_of_blocks_say_which_inputs_begin_alike(tmp_path: Path) -> None:
    found = plan({"prompts": "prose", "load": mooncake(tmp_path), "sessions": "load"})
    assert [len(one.prompt) for one in found] == [1100, 1500, 600, 2100, 1000]
    assert [shared(found[0], one) for one in found[1:]] == [1024, 0, 1024, 0]
    assert shared(found[1], found[3]) == 1500  # all of its last block, of which the trace says no more than that
    assert shared(found[2], found[4]) == 512


def test_turns_of_a_session_begin_alike(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens,session\n0,50,5,a\n1,60,5,b\n2,90,5,a\n3,40,5,\n4,70,5,a\n")
    found = plan({"prompts": "prose", "load": str(path), "sessions": "load"})
    assert [shared(found[0], one) for one in found[1:]] == [0, 50, 0, 50]
    assert shared(found[2], found[4]) == 70
    assert [len(one.prompt) for one in found] == [50, 60, 90, 40, 70]


def test_lengths_are_scaled_with_what_they_share(tmp_path: Path) -> None:
    found = plan({"prompts": "prose", "load": mooncake(tmp_path), "sessions": "load", "token_scale": 0.1})
    assert [len(one.prompt) for one in found] == [110, 150, 60, 210, 100]
    assert [shared(found[0], one) for one in found[1:]] == [102, 0, 102, 0]


def test_without_sessions_a_load_is_what_it_was(tmp_path: Path) -> None:
    found = plan({"prompts": "prose", "load": mooncake(tmp_path)})
    assert [one.prompt_id.rpartition("+")[2] for one in found] == ["1100", "1500", "600", "2100", "1000"]
    assert not any("#" in one.prompt_id or ";" in one.prompt_id for one in found)


def test_a_load_without_sessions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens\n0,50,5\n1,60,5\n")
    with pytest.raises(BadInput, match="says nothing of sessions"):
        plan({"prompts": "prose", "load": str(path), "sessions": "load"})


REFUSED = {
    "a turn comes after the answer before it": {**TALK, "arrivals": {"poisson": {"rate_per_s": 1}}},
    "sessions: load needs a load": {**TALK, "sessions": "load"},
    "write `sessions: load`": {"prompts": "prose", "load": "azure-2023-conv", "sessions": {"turns": 2}},
    "greater than or equal to 2": {**TALK, "sessions": {"turns": 1}},
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_what_cannot_be_meant_is_refused(complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Scenario.model_validate({**SMALL, "workload": REFUSED[complaint]})


def test_prefixes_are_kept_where_there_are_sessions_unless_the_experiment_says_otherwise() -> None:
    def keeping(workload: Any, **changes: Any) -> PrefixCaching | None:
        return Scenario.model_validate({**SMALL, "workload": workload, **changes}).keeping

    plain = SMALL["workload"]
    assert keeping(plain) is None
    assert keeping(plain, prefix_cache=True) == PrefixCaching()
    assert keeping(TALK) == PrefixCaching()
    assert keeping(TALK, prefix_cache=False) is None
    assert keeping(TALK, prefix_cache={"tokens": 500}) == PrefixCaching(tokens=500)
    dumped = Scenario.model_validate(SMALL).resolved()
    assert "prefix_cache" not in dumped and "sessions" not in dumped["workload"]  # older runs keep their ids


# --- runs ---------------------------------------------------------------------------------------------------------

EDGE = {"user": {"near": 2}, "target": "near", "drafter": "far"}
POLICIES = ["autoregressive", "centralised", {"speculative": {"k": 2}}, {"wanspec": {"k": 2}}]


def frames(**changes: Any) -> dict[str, pd.DataFrame]:
    found = inputs(TALK, policies=POLICIES, place=EDGE, **changes)
    rows = rows_of(found, simulate(found))
    return {kind: pd.DataFrame([{key: getattr(row, key) for key in row.__struct_fields__} for row in rows[kind]])
            for kind in ("requests", "steps")}  # fmt: skip


def test_kept_prefixes_save_their_passes_and_change_no_token() -> None:
    kept, anew = frames(), frames(prefix_cache=False)
    assert list(kept["requests"]["tokens"]) == list(anew["requests"]["tokens"])
    for policy, of_policy in kept["steps"].groupby("policy"):
        first = of_policy[of_policy["kind"] == "verify"].drop_duplicates("request").set_index("request")["position"]
        prompts = kept["requests"].set_index("request")["prompt_tokens"]
        turns = prompts[prompts.index.isin(first.index)].sort_index()
        # each user's first and fourth request begins a conversation; of the others, whole blocks of the last prompt
        # at least, and no more than their own prompt but its last token
        assert (first.loc[turns.index].iloc[[0, 1, 6, 7]] == 0).all(), policy
        later = first.loc[turns.index].iloc[[2, 3, 4, 5, 8, 9, 10, 11]]
        before = turns.iloc[[0, 1, 2, 3, 6, 7, 8, 9]]
        assert (later.to_numpy() >= before.to_numpy() // 16 * 16).all(), policy
        assert (later.to_numpy() < turns.loc[later.index].to_numpy()).all(), policy
    waited = []
    for one in (kept, anew):
        requests = one["requests"]
        waited.append((requests["first_token_ns"] - requests["sent_ns"]).groupby(requests["policy"]).sum())
    ours, theirs = waited
    assert (ours < theirs).all()


def test_without_room_nothing_is_kept() -> None:
    assert frames(prefix_cache={"tokens": 0})["steps"].equals(frames(prefix_cache=False)["steps"])


def test_cached_tokens_are_a_metric() -> None:
    assert {"cached_prompt_tokens", "cached_prompt_share", "requests_by_target"} <= REGISTRY.keys()
