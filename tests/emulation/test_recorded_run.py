"""Recorded compute: every policy over a real network without models, and what is refused is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from testbed.emulation.answers import Answers
from testbed.emulation.inputs import Inputs, Options, read
from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.simulation.inputs import from_manifest
from testbed.simulation.world import NO_OVERHEADS
from testbed.tables.carried import carried
from testbed.workload.planned import by_user
from tests.run_examples import experiment, finished, workload

RECORDED: dict[str, Any] = {"compute": {"models": "recorded"}, "workload": workload(3, 16)}
TREE = {"wanspec": {"k": 2, "branches": 2, "label": "tree"}}
EVERY = ["autoregressive", {"speculative": {"k": 2}}, {"wanspec": {"k": 2}}, TREE, "centralised", "sled", "wisp"]


def inputs(folder: Path, **changes: Any) -> Inputs:
    return read(load_scenario(experiment(folder, **{**RECORDED, **changes})), Options(fabric="relay"))


def test_no_model_is_read_and_the_table_decides_the_run(tmp_path: Path) -> None:
    found = inputs(tmp_path)
    assert found.recorded is not None and found.recorded.table.name == "tiny-prose"
    assert found.run_id != inputs(tmp_path, compute={"models": "live"}).run_id
    named = inputs(tmp_path, outcomes={"table": "tiny-prose"}).recorded
    assert named is not None and named.table.sha256 == found.recorded.table.sha256


def test_made_up_outcomes_are_carried_to_the_nodes_and_simulated_again_from_the_manifest(tmp_path: Path) -> None:
    found = inputs(tmp_path, outcomes={"iid": {"match": 0.8, "prompt_tokens": 7000}})
    assert found.recorded is not None and found.recorded.table.synthetic
    planned = found.plan(1, 0)
    assert {len(one.prompt) for one in planned} == {7000}
    held = carried(Path(Answers(found).write("target0", tmp_path)).read_bytes())
    assert set(held.prompt_tokens) == {one.prompt_id for one in planned}
    again = from_manifest({**found.experiment.facts(), "models": {}}, [], None, NO_OVERHEADS)
    assert again.table.sha256 == found.recorded.table.sha256 and again.plan(1, 0) == planned


def test_a_user_s_node_has_the_outputs_of_that_user_and_the_target_s_all(tmp_path: Path) -> None:
    found = inputs(tmp_path, place={"user": {"far": 2}, "target": "near"}, policies=["wisp"])
    answers, planned = Answers(found), found.plan(1, 0)
    asked = {user: {one.request for one in requests} for user, requests in by_user(planned, ["user0", "user1"]).items()}
    assert asked == {"user0": {1, 3}, "user1": {2}}
    for node, requests in {**asked, "target0": {1, 2, 3}}.items():
        assert {one.request for one in answers.bound(node, planned)} == requests
    sizes = {node: Path(answers.write(node, tmp_path)).stat().st_size for node in ("user0", "user1", "target0")}
    assert sizes["user1"] < sizes["user0"] < sizes["target0"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"devices": {"target": "native", "drafter": "native"}}, "'native' has no pass times"),
        ({"policies": [{"sled": {"fall_back": 2, "timeout_ms": 40}}]}, "fall_back emits unverified tokens"),
        ({"workload": {**workload(3, 16), "prompts": "mixed"}}, "no decode table"),
        ({"workload": workload(3, 400)}, "output tokens"),
        ({"compute": {"models": "recorded", "target": {"memory": "1GiB"}}}, "no models to put into containers"),
    ],
)
def test_what_a_table_cannot_answer_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint) as refused:
        inputs(tmp_path, **changes)
    assert "\n" not in str(refused.value)


def test_a_table_without_recorded_compute_is_refused_with_the_key(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"compute.models=recorded"):
        inputs(tmp_path, compute={}, outcomes={"table": "tiny-prose"})
    with pytest.raises(BadInput, match=r"compute.*models"):
        inputs(tmp_path, compute={"models": "recorder"})


def outputs(run: Path) -> dict[Any, tuple[int, ...]]:
    found: dict[Any, tuple[int, ...]] = (
        pd.read_parquet(run / "requests.parquet").set_index(["policy", "request"])["tokens"].map(tuple).to_dict()
    )
    return found


@pytest.mark.shaped
@pytest.mark.slow
def test_every_policy_emits_what_is_recorded_over_a_real_network(tmp_path: Path) -> None:
    path = experiment(
        tmp_path, **RECORDED, policies=EVERY, place={"user": {"near": 1, "far": 1}, "target": "near", "drafter": "far"}
    )
    summary, run = finished(path, tmp_path / "real", "--fabric", "relay", "--nodes", "process")
    assert summary["lossless"] == {"checked": 21, "equal": 21, "kind": "recorded"}
    assert "RECORDED COMPUTE" in summary["stamps"]
    assert not [reason for reason in summary["validity"]["reasons"] if "contradicts" in reason or "finished" in reason]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["compute_models"] == "recorded" and manifest["table"]["name"] == "tiny-prose"
    assert "tree" in manifest["tree_lookups"], "what trees asked is counted"
    assert not any(manifest["node_memory_mb"].values()), "no node has a model worker"
    _, virtual = finished(path, tmp_path / "virtual", "--engine", "simulation")
    assert outputs(run) == outputs(virtual)
    assert "no model ran" in (run / "report.html").read_text()
