"""Experiment files: what is right is resolved whole, what is wrong gets one line with the place and the fix."""

from pathlib import Path

import pytest
import yaml

from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.scenario import Scenario, run_id
from testbed.files.refusals import MOST_MISTAKES
from testbed.sweeps.plan import load_sweep

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


SEVERAL = GOOD.replace("target: a,", "target: [a, b],")


def test_a_policy_is_routed_by_its_own_rule_else_by_the_experiments_else_to_the_nearest(write):
    text = SEVERAL.replace("label: sd3}", "label: sd3, routing: {rule: jsq, report_ms: 50}}")
    near = load_scenario(write(text))
    assert [near.routing_of(entry).rule for entry in near.policies] == ["nearest", "jsq"]
    assert near.routing_of(near.policies[1]).report_ms == 50
    turns = load_scenario(write(text + "routing: round_robin\n"))
    assert [turns.routing_of(entry).rule for entry in turns.policies] == ["round_robin", "jsq"]
    assert Scenario.model_validate(turns.resolved()) == turns
    alone = load_scenario(write(GOOD))
    assert [alone.routing_of(entry) for entry in alone.policies] == [None, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "routing: jsq\n", r"e.yaml:9: routing: there is one target"),
        (SEVERAL + "routing: weighted\n", r"e.yaml:9: routing: weighted needs weights"),
        (SEVERAL + "routing: {rule: jsq, weights: {target0: 2}}\n", r"weights belong to rule: weighted"),
        (SEVERAL + "routing: {rule: weighted, weights: {target0: 0, target1: 0}}\n", r"every target has weight 0"),
        (SEVERAL + "routing: {rule: weighted, weights: {target2: 2}}\n", r"e.yaml:9: routing: no target 'target2'"),
        (SEVERAL.replace("label: sd3}", "label: sd3, routing: weighted}"), r"e.yaml:8: routing: weighted needs"),
    ],
)
def test_a_routing_that_would_do_nothing_is_refused_with_its_place(write, text, expected):
    with pytest.raises(BadInput, match=expected):
        load_scenario(write(text))


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
        ("{k: 3, label: sd3}", "{k: 0}", r"e.yaml:\d+: speculative: k: should be greater than"),
        ("- autoregressive", "- autoregresive", r"e.yaml:\d+: .*autoregressive"),
        ("- autoregressive", "- speculative: {label: sd3}", r"e.yaml:\d+: two policies have the label 'sd3'"),
        ("target: a,", "target: [],", r"e.yaml:5: .*target"),
        ("target: a, drafter: [b, a]}", "target: a}\nmatrix: {seed: [1, 2]}", r"e.yaml:6: matrix: .*testbed sweep"),
        ("- autoregressive", "- wanspec", None),
        ("{k: 3, label: sd3}", "3", r"e.yaml:8: speculative: parameters are given by name.*not 3"),
        ("{k: 3, label: sd3}", "0", r"e.yaml:8: speculative: parameters are given by name.*not 0"),
        ("{k: 3, label: sd3}", "[1]", r"e.yaml:8: speculative: parameters are given by name.*not \[1\]"),
        ("{k: 3, label: sd3}", "abc", r"e.yaml:8: speculative: parameters are given by name.*not 'abc'"),
        ("- autoregressive", "- 3: {k: 1}", r"e.yaml:7: a policy's name is text, not 3"),
        (
            "- autoregressive",
            "- {name: speculative, label: x, params: {kk: 3}}",
            r"e.yaml:7: speculative: key 'kk' is unknown; did you mean 'k'",
        ),
        ("label: sd3", "label: a/b", r"e.yaml:8: policies.1.label: it becomes a file name: .*\(it is 'a/b'\)"),
        ("label: sd3", "label: ../x", r"e.yaml:8: policies.1.label: it becomes a file name"),
        ("label: sd3", f"label: {'x' * 101}", r"e.yaml:8: policies.1.label: it becomes a file name"),
        ("label: sd3", "label: 3", r"e.yaml:8: policies.1.label: should be a valid string"),
        ("name: demo", "name: ../demo", r"e.yaml:1: name: it becomes a file name"),
        ("name: demo", "name: 2026-02-30", r"e.yaml:1: '2026-02-30': .*put text in quotes"),
        # of a union, the branch is explained that the input got furthest into
        (
            "requests: 4",
            "requests: 4, arrivals: {poisson: {rate_per_s: 2/s}}",
            r"e.yaml:3: workload.arrivals.poisson.rate_per_s is '2/s'; write the number alone.*: 2$",
        ),
        (
            "requests: 4",
            "requests: 4, arrivals: {poison: {rate_per_s: 2}}",
            r"e.yaml:3: key 'poison' is unknown in workload.arrivals; did you mean 'poisson'",
        ),
        (
            "requests: 4",
            "requests: 4, arrivals: poisson",
            r"e.yaml:3: workload.arrivals: should be like sequential.*'poi",
        ),
        ("{a: 2}", "{a: 0}", r"e.yaml:5: place.user.a: should be greater than or equal to 1 \(it is 0\)$"),
        (
            "drafter: [b, a]",
            "drafter: [b, 7]",
            r"e.yaml:5: place.drafter.1: should be a valid string; put text in quotes \(it is 7\)$",
        ),
    ],
)
def test_bad_input_is_one_line_with_file_place_and_fix(write, old, new, complaint):
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


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (
            "workload.arrivals={poisson: {rate_per_s: 2/s}}",
            "workload.arrivals.poisson.rate_per_s is '2/s'; write the number alone, in the unit the key names: 2",
        ),
        ("workload.arrivals={poisson: {}}", "key 'rate_per_s' is missing in workload.arrivals.poisson"),
        ("workload.sampling.temperature=hot", "workload.sampling.temperature: should be a valid number"),
        ("place.user={near: 0}", "place.user.near: should be greater than or equal to 1 (it is 0)"),
        ("workload.request=9", "key 'request' is unknown in workload; did you mean 'requests'?"),
        ("policies.1={speculative: {kk: 1}}", "speculative: key 'kk' is unknown"),
        ("policies.1={speculative: {label: a/b}}", "policies.1.label: it becomes a file name"),
    ],
)
def test_what_an_override_brought_is_blamed_on_the_override(write, override, complaint):
    with pytest.raises(BadInput) as caught:
        load_scenario(write(GOOD), [override])
    assert str(caught.value).startswith(f"override {override}: {complaint}")
    assert "\n" not in str(caught.value)


def test_what_the_file_brought_is_blamed_on_the_file_also_with_overrides(write):
    with pytest.raises(BadInput, match=r"e.yaml:3: workload.requests: should be"):
        load_scenario(write(GOOD.replace("requests: 4", "requests: 0")), ["seed=3", "workload.output_tokens=10"])


def test_of_two_overrides_of_one_place_the_last_is_named(write):
    overrides = ["workload={prompts: prose, requests: 0}", "workload.requests=-1", "seed=3"]
    with pytest.raises(BadInput, match=r"^override workload.requests=-1: workload.requests: should be"):
        load_scenario(write(GOOD), overrides)


def test_the_run_id_depends_on_everything_that_decides_the_run(write):
    scenario = load_scenario(write(GOOD)).resolved()
    other = load_scenario(write(GOOD), ["seed=1"]).resolved()
    assert run_id(scenario, {"code": "a"}) == run_id(scenario, {"code": "a"})
    assert len({run_id(scenario, {"code": "a"}), run_id(scenario, {"code": "b"}), run_id(other, {"code": "a"})}) == 3


@pytest.mark.parametrize(
    "path", sorted(path for path in Path("experiments").glob("**/*.yaml") if path.name != "claims.yaml"), ids=str
)
def test_every_shipped_experiment_is_valid(path):
    scenario = load_sweep(path).points[0].scenario  # a file without a matrix is a sweep of one point
    assert scenario.name == yaml.safe_load(path.read_text())["name"]


def _told(error: BadInput) -> list[str]:
    return [str(error), *getattr(error, "__notes__", ())]


def test_all_mistakes_of_a_file_are_told_at_once_unknown_keys_first_then_by_line(write):
    changes = {"requests: 4": "requests: 0", "{k: 3, label: sd3}": "{kk: 3, draft: x}",
               "- autoregressive": "- autoregresive", "topology:": "topologie:"}  # fmt: skip
    text = GOOD
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(BadInput) as caught:
        load_scenario(write(text), ["workload.output_tokens=0"])
    told = [line.split("e.yaml:")[-1] for line in _told(caught.value)]
    assert [line.partition(";")[0] for line in told] == [
        "2: key 'topologie' is unknown",  # and nothing of a missing topology
        "8: speculative: key 'kk' is unknown",
        "override workload.output_tokens=0: workload.output_tokens: should be greater than or equal to 1 (it is 0)",
        "3: workload.requests: should be greater than or equal to 1 (it is 0)",
        "7: no policy 'autoregresive'",
        "8: speculative: draft: should be 'greedy' or 'sampled' (it is 'x')",
    ]


def test_mistakes_between_keys_are_told_at_once(write):
    text = GOOD.replace(", drafter: [b, a]", "").replace("- autoregressive", "- wanspec: {label: sd3}")
    with pytest.raises(BadInput) as caught:
        load_scenario(write(text + "compute: {drafter: {cpus: '0'}}\nevents: [{at_s: 1, stop_node: user9}]\n"))
    told = " | ".join(_told(caught.value))
    for words in (
        "policy 'sd3' needs a drafter",
        "have the label 'sd3'",
        "no role or node 'drafter'",
        "no node 'user9'",
    ):
        assert words in told


def test_of_very_many_mistakes_the_first_are_told_and_the_others_counted(write):
    events = ", ".join("{at_s: -1, heal: true}" for _ in range(MOST_MISTAKES + 7))
    with pytest.raises(BadInput) as caught:
        load_scenario(write(GOOD + f"events: [{events}]\n"))
    told = _told(caught.value)
    assert len(told) == MOST_MISTAKES + 1
    assert told[-1].endswith("7 more mistakes; fix these first")
