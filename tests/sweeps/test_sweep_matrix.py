"""The matrix of an experiment file: what it expands to, and what is refused with its line."""

import pytest

from testbed.errors import BadInput
from testbed.sweeps.plan import load_sweep
from tests.sweep_examples import experiment


def settings(path, *overrides):
    return [dict(point.settings) for point in load_sweep(path, overrides).points]


def test_points_are_the_product_with_the_last_axis_running_fastest(tmp_path):
    assert settings(experiment(tmp_path)) == [
        {"network.rtt_ms": rtt, "seed": seed} for rtt in (5, 20) for seed in (1, 2, 3)
    ]


def test_a_range_includes_both_ends_and_stays_whole_where_it_can(tmp_path):
    matrix = {"seed": {"from": 1, "to": 9, "count": 5}, "policies.wanspec.phi": {"from": 0, "to": 0.3, "count": 4}}
    points = settings(experiment(tmp_path, matrix=matrix))
    assert [point["seed"] for point in points[::4]] == [1, 3, 5, 7, 9]
    assert [point["policies.wanspec.phi"] for point in points[:4]] == [0.0, 0.1, 0.2, 0.3]
    assert all(isinstance(point["seed"], int) for point in points)


def test_a_point_sets_its_values_and_no_other_points(tmp_path):
    matrix = {"policies.wanspec.phi": [0.1, 2.0], "place.drafter": ["far", "near"]}
    points = load_sweep(experiment(tmp_path, matrix=matrix)).points
    assert [(one.scenario.policies[1].params["phi"], one.scenario.place.drafter) for one in points] == [
        (0.1, "far"),
        (0.1, "near"),
        (2.0, "far"),
        (2.0, "near"),
    ]
    assert {one.scenario.policies[1].params["k"] for one in points} == {2}


def test_a_mapping_sets_several_things_together(tmp_path):
    pairs = [{"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"}, {"target": "native"}]
    points = load_sweep(experiment(tmp_path, matrix={"devices": pairs})).points
    assert [one.scenario.devices.target for one in points] == ["l40s/llama-3.1-8b", "native"]


def test_a_file_without_a_matrix_is_a_sweep_of_one_point(tmp_path):
    assert settings(experiment(tmp_path, matrix=None)) == [{}]


def test_an_override_of_a_swept_key_leaves_only_that_value(tmp_path):
    assert settings(experiment(tmp_path), "seed=7") == [
        {"network.rtt_ms": 5, "seed": 7},
        {"network.rtt_ms": 20, "seed": 7},
    ]


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ([1], "maps dotted keys to lists of values"),
        ({}, "maps dotted keys to lists of values"),
        ({"seed": 3}, "matrix.seed: give a list of values"),
        ({"seed": []}, "matrix.seed: give a list of values"),
        ({"seed": [1, 1]}, "matrix.seed: 1 is given twice"),
        ({"seed": {"from": 1, "to": 2}}, "exactly the keys from, to and count"),
        ({"seed": {"from": 1, "to": 2, "count": 1}}, "count: 1 is not a whole number"),
        ({"seed": {"from": "a", "to": 2, "count": 3}}, "from: 'a' is not a number"),
        ({"seed": {"from": 1, "to": 1, "count": 3}}, "from and to are equal"),
        ({"seeds": [1]}, "key 'seeds' is unknown"),
        ({"seed": [1, -1]}, "seed: should be greater"),
        ({"policies.wanspek.phi": [1]}, "no policy 'wanspek' in this file; did you mean 'wanspec'"),
        ({"policies.wanspec.phii": [1]}, "key 'phii' is unknown"),
        ({"devices": [{"target": "native"}], "devices.target": ["native"]}, "sets the same place as axis 'devices'"),
        ({"a..b": [1]}, "is not a dotted key"),
        ({"seed": {"from": 0, "to": 1, "count": 100001}, "repeats": [1, 2]}, "200002 points exceed"),
    ],
)
def test_what_is_no_matrix_is_refused_with_the_file(tmp_path, matrix, complaint):
    path = experiment(tmp_path, matrix=matrix)
    with pytest.raises(BadInput, match=r".") as caught:
        load_sweep(path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_override_that_the_matrix_would_undo_is_refused(tmp_path):
    path = experiment(tmp_path, matrix={"devices": [{"target": "native"}]})
    with pytest.raises(BadInput, match=r"same place as override 'devices.target=native'"):
        load_sweep(path, ["devices.target=native"])


def test_two_names_of_one_swept_place_are_refused(tmp_path):
    path = experiment(tmp_path, matrix={"policies.wanspec.phi": [1]})
    with pytest.raises(BadInput, match=r"same place as override 'policies.1.wanspec.phi=2'"):
        load_sweep(path, ["policies.1.wanspec.phi=2"])
