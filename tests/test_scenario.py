"""Experiment files: what is right is resolved whole, what is wrong gets one line with the place and the mend."""

from pathlib import Path

import pytest
import yaml

from testbed.errors import BadInput
from testbed.scenario import Scenario, load_scenario, run_id

GOOD = """\
name: demo
topology: two-sites
workload: {prompts: prose, requests: 4}
models: {target: tiny-target, draft: tiny-draft}
place: {user: {a: 2}, target: a, drafter: [b, a]}
policies:
  - autoregressive
  - speculative: {k: 3, label: sd3}
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "e.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults_are_filled_in_and_nodes_are_named_by_role(write):
    scenario = load_scenario(write(GOOD))
    assert scenario.workload.output_tokens == 100
    assert scenario.devices.target == "native"
    assert [(entry.name, entry.label) for entry in scenario.policies] == [
        ("autoregressive",) * 2,
        ("speculative", "sd3"),
    ]
    assert scenario.policies[1].params["k"] == 3
    assert scenario.place.nodes() == {
        "user0": ("user", "a"),
        "user1": ("user", "a"),
        "target0": ("target", "a"),
        "drafter0": ("drafter", "b"),
        "drafter1": ("drafter", "a"),
    }


def test_a_resolved_scenario_is_itself_a_scenario(write):
    scenario = load_scenario(write(GOOD))
    assert Scenario.model_validate(scenario.resolved()) == scenario


def test_overrides_reach_mappings_and_lists(write):
    scenario = load_scenario(write(GOOD), ["workload.requests=9", "seed=3", "policies.1={speculative: {k: 1}}"])
    assert (scenario.workload.requests, scenario.seed, scenario.policies[1].params["k"]) == (9, 3, 1)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("topology:", "topologie:", r"e.yaml:\d+: .*topolog"),
        ("requests: 4", "request: 4", r"e.yaml:3: key 'request' is unknown in workload; did you mean 'requests'"),
        ("requests: 4", "requests: many", r"e.yaml:3: workload.requests"),
        ("requests: 4", "requests: 0", r"e.yaml:3: workload.requests"),
        ("{k: 3, label: sd3}", "{kk: 3}", r"e.yaml:\d+: .*'kk' is unknown"),
        ("{k: 3, label: sd3}", "{k: 0}", r"e.yaml:\d+: .*'k'.*greater than"),
        ("- autoregressive", "- autoregresive", r"e.yaml:\d+: .*autoregressive"),
        ("- autoregressive", "- speculative: {label: sd3}", r"e.yaml:\d+: two policies are called 'sd3'"),
        ("target: a,", "target: [a, b],", r"e.yaml:5: one target"),
        ("target: a, drafter: [b, a]}", "target: a}\nmatrix: {seed: [1, 2]}", r"e.yaml:6: key 'matrix' is unknown"),
        ("- autoregressive", "- wanspec", None),
    ],
)
def test_bad_input_is_one_line_with_file_place_and_mend(write, old, new, complaint):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    if complaint is None:
        assert load_scenario(path).policies[0].name == "wanspec"
        return
    with pytest.raises(BadInput, match=complaint) as caught:
        load_scenario(path)
    assert "\n" not in str(caught.value)


def test_a_policy_without_a_place_for_its_role_is_refused(write):
    text = GOOD.replace(", drafter: [b, a]", "").replace("- autoregressive", "- wanspec: {k: 2}")
    with pytest.raises(BadInput, match="policy 'wanspec' needs a drafter"):
        load_scenario(write(text))


@pytest.mark.parametrize("override", ["workload.requests", "=3", "policies.7=x", "name.x.y=1"])
def test_a_bad_override_is_named(write, override):
    with pytest.raises(BadInput):
        load_scenario(write(GOOD), [override])


def test_the_run_id_depends_on_everything_that_decides_the_run(write):
    scenario = load_scenario(write(GOOD)).resolved()
    other = load_scenario(write(GOOD), ["seed=1"]).resolved()
    assert run_id(scenario, {"code": "a"}) == run_id(scenario, {"code": "a"})
    assert len({run_id(scenario, {"code": "a"}), run_id(scenario, {"code": "b"}), run_id(other, {"code": "a"})}) == 3


@pytest.mark.parametrize("path", sorted(Path("experiments").glob("**/*.yaml")), ids=str)
def test_every_shipped_experiment_is_valid(path):
    scenario = load_scenario(path)
    assert scenario.name == yaml.safe_load(path.read_text())["name"]
