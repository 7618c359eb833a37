"""Experiments and overrides in every form that Python gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import testbed as tb
from testbed.api.given import as_file, as_overrides, here
from testbed.experiment.document import load_scenario
from tests.policies.policy_file import write_policy
from tests.run_examples import SMALL, experiment


def test_a_file_a_name_and_a_mapping(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    for given in (path, str(path), SMALL):
        with as_file(given) as file:
            assert load_scenario(file).name == "small"
    with as_file("quickstart") as file:
        assert load_scenario(file).name == "quickstart"


def test_errors_about_a_mapping_do_not_name_a_temporary_file() -> None:
    with pytest.raises(tb.BadInput) as caught:
        tb.simulate({**SMALL, "seeds": 3}, progress=False)
    assert str(caught.value).startswith("experiment:") and "/tmp" not in str(caught.value)
    with pytest.raises(tb.BadInput, match="experiment: it may hold numbers, texts"):
        tb.simulate({**SMALL, "seed": object()}, progress=False)


def test_a_policy_s_file_in_a_mapping_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_policy(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    with as_file({**SMALL, "policies": ["mine/my_policy.py:SPEC", {"mine/my_policy.py:SPEC": {"label": "b"}}]}) as file:
        assert [one.label for one in load_scenario(file).policies] == ["lookup", "b"]


def test_overrides_mean_what_they_say(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    overrides = {
        "workload.requests": np.int64(2), "policies.wanspec.phi": 1e-5, "policies.0": {"speculative": {"label": "yes"}},
        "place.drafter": ["far", "near"], "description": "a: b, [c]",
    }  # fmt: skip
    scenario = load_scenario(path, as_overrides(overrides, seed=4))
    assert (scenario.workload.requests, scenario.seed, scenario.description) == (2, 4, "a: b, [c]")
    assert scenario.policies[0].label == "yes" and scenario.policies[2].params["phi"] == 1e-5
    assert scenario.place.drafter == ["far", "near"]
    assert as_overrides(["seed=3"], seed=None) == ["seed=3"]
    with pytest.raises(tb.BadInput, match="a mapping or a list"):
        as_overrides("seed=3")


def test_every_path_in_a_mapping_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that it is written to lies elsewhere, and means nothing to the caller."""
    monkeypatch.chdir(tmp_path)
    data = {
        "topology": "./mine.yaml",
        "workload": {"prompts": "mine.jsonl"},
        "devices": {"target": "mine.yaml", "drafter": "l40s/llama-3.2-1b"},
        "network": {"rtt_series": "far/mine.csv"},
    }
    found = here(data)
    assert found["topology"] == str(tmp_path / "mine.yaml")
    assert found["workload"]["prompts"] == str(tmp_path / "mine.jsonl")
    assert found["devices"] == {"target": str(tmp_path / "mine.yaml"), "drafter": "l40s/llama-3.2-1b"}
    assert found["network"]["rtt_series"] == str(tmp_path / "far/mine.csv")
    assert here({"topology": "aws-europe"}) == {"topology": "aws-europe"}
