"""The shipped claims of the WISP paper: every row asks for something that its sweep, search or fit will have."""

from functools import cache
from typing import Any

import pytest

from testbed.experiment.document import load_scenario, read_document
from testbed.reproduce.claims import load_claims
from testbed.reproduce.measured import ESTIMATE
from testbed.results.metrics import REGISTRY
from testbed.simulation.probing import named
from testbed.sweeps.plan import load_sweep
from testbed.sweeps.run import HEADLINE

CLAIMS, FOLDER = load_claims("wisp")
VALUES = [(claim, value) for claim in CLAIMS.claims for value in claim.values]
CAPACITY = {"capacity", "capacity_per_user", "capacity_fleet", "tokens_per_s_per_user", "token_goodput", "violations"}
PREDICTORS = {"mlp", "logistic", "confidence", "entropy"}


@cache
def sweep(key):
    return load_sweep(FOLDER / CLAIMS.sweeps[key].file, CLAIMS.sweeps[key].overrides)


@cache
def labels(key):
    if key in CLAIMS.sweeps:
        return {entry.label for entry in sweep(key).points[0].scenario.policies}
    if key in CLAIMS.capacities:
        entry = CLAIMS.capacities[key]
        there = [one.label for one in load_scenario(FOLDER / entry.file, entry.overrides).policies]
        assert set(entry.policies) <= set(there)
        return set(entry.policies or there)
    return {ESTIMATE} if key in CLAIMS.estimators else PREDICTORS


def defects(claim, value):
    """What a value asks for that its sweep, search or fit will not have."""
    asked = {value.policy, value.over or value.policy, value.less or value.policy}
    yield from (f"no policy {one}" for one in asked - labels(claim.sweep))
    if claim.sweep in CLAIMS.sweeps:
        if value.metric not in {*HEADLINE, *CLAIMS.sweeps[claim.sweep].metrics} & {*REGISTRY}:
            yield f"no metric {value.metric}"
        axes = sweep(claim.sweep).axes
        yield from (f"{name} is never {one}" for name, one in value.where.items() if one not in axes.get(name, []))
        if value.reduce != "median":
            yield from (f"{axis} is open, for a single row" for axis in {*axes} - {*value.where})
    elif claim.sweep in CLAIMS.capacities:
        fleets = CLAIMS.capacities[claim.sweep].fleets
        rates = [named(one) for one in fleets]
        classes = {f"attainment_{rate:g}" for one in fleets if isinstance(one, tuple) for rate in one}
        if value.metric not in CAPACITY | classes:
            yield f"no metric {value.metric}"
        if value.where.get("tokens_per_s", rates[0]) not in rates or not (value.where or len(rates) == 1):
            yield f"the search has the rates {rates}, asked for is {value.where or 'any'}"


def test_every_value_asks_for_a_policy_setting_and_metric_of_its_source():
    """Lists every defect of the file at once."""
    assert [f"{claim.id}, {value.name}: {one}" for claim, value in VALUES for one in defects(claim, value)] == []


@pytest.mark.parametrize("source", ["sweeps", "capacities"])
def test_a_wrong_value_is_a_defect(source):
    """The list above can be other than empty."""
    claim, value = next((claim, value) for claim, value in VALUES if claim.sweep in getattr(CLAIMS, source))
    wrong = value.model_copy(
        update={"policy": "wisq", "where": {"tokens_per_s": -1}, "metric": "latency", "reduce": "median"}
    )
    found = list(defects(claim, wrong))
    assert found[:2] == ["no policy wisq", "no metric latency"] and len(found) == 3 and "-1" in found[2]


def test_every_figure_is_of_a_source_with_its_policies():
    for figure in CLAIMS.figures:
        assert set(figure.policies) <= labels(figure.sweep)


def test_sweeps_and_searches_do_not_write_over_each_other():
    names = [sweep(key).experiment for key in CLAIMS.sweeps]
    searched = [load_scenario(FOLDER / entry.file, entry.overrides).name for entry in CLAIMS.capacities.values()]
    assert len(set(names)) == len(names) and len(set(searched)) == len(searched)


def test_every_experiment_of_both_papers_is_used_or_stands_alone():
    entries: list[Any] = [*CLAIMS.sweeps.values(), *CLAIMS.capacities.values()]
    used = {(FOLDER / entry.file).resolve() for entry in entries} | {FOLDER.resolve() / "claims.yaml"}
    sled = (FOLDER.parent / "sled").resolve()
    emulated = FOLDER.resolve().glob("emulated*.yaml")
    alone = {sled / "fall-back.yaml", FOLDER.resolve() / "recorded-fleet.yaml", *emulated}
    assert {path.resolve() for folder in (FOLDER, sled) for path in folder.glob("*.yaml")} == used | alone


def test_the_fall_back_stands_in_an_experiment_that_only_an_emulation_can_run():
    scenario = read_document(FOLDER.parent / "sled" / "fall-back.yaml").scenario()
    assert [entry.params["fall_back"] for entry in scenario.policies] == [None, 2]
