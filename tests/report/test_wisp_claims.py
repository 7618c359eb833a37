"""The shipped claims of the WISP paper: every row asks for something that its sweep, search or fit will have."""

from functools import cache

import pytest

from testbed.report.claims import load_claims
from testbed.report.claims_measured import ESTIMATE
from testbed.results.metrics import REGISTRY
from testbed.scenario import load_scenario, read_document
from testbed.simulation.capacity import named
from testbed.sweep.plan import load_sweep
from testbed.sweep.run import HEADLINE

CLAIMS, FOLDER = load_claims("wisp")
VALUES = [(claim, value) for claim in CLAIMS.claims for value in claim.values]
CAPACITY = {"capacity", "token_goodput", "violations"}
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


@pytest.mark.parametrize(("claim", "value"), VALUES, ids=[f"{claim.id}-{value.name}" for claim, value in VALUES])
def test_a_value_asks_for_a_policy_setting_and_metric_of_its_source(claim, value):
    assert {value.policy, value.over or value.policy, value.less or value.policy} <= labels(claim.sweep)
    if claim.sweep in CLAIMS.sweeps:
        asked = (*HEADLINE, *CLAIMS.sweeps[claim.sweep].metrics)
        assert value.metric in asked and value.metric in REGISTRY
        axes = sweep(claim.sweep).axes
        assert all(wanted in axes[name] for name, wanted in value.where.items())
        assert value.reduce == "median" or set(value.where) == set(axes)
    elif claim.sweep in CLAIMS.capacities:
        fleets = CLAIMS.capacities[claim.sweep].fleets
        rates = [named(one) for one in fleets]
        classes = {f"attainment_{rate:g}" for one in fleets if isinstance(one, tuple) for rate in one}
        assert value.metric in CAPACITY | classes
        assert value.where.get("tokens_per_s", rates[0]) in rates and (value.where or len(rates) == 1)


def test_every_figure_is_of_a_source_with_its_policies():
    for figure in CLAIMS.figures:
        assert set(figure.policies) <= labels(figure.sweep)


def test_sweeps_and_searches_do_not_write_over_each_other():
    names = [sweep(key).experiment for key in CLAIMS.sweeps]
    searched = [load_scenario(FOLDER / entry.file, entry.overrides).name for entry in CLAIMS.capacities.values()]
    assert len(set(names)) == len(names) and len(set(searched)) == len(searched)


def test_every_experiment_of_both_papers_is_used_or_stands_alone():
    entries = [*CLAIMS.sweeps.values(), *CLAIMS.capacities.values()]
    used = {(FOLDER / entry.file).resolve() for entry in entries} | {FOLDER.resolve() / "claims.yaml"}
    sled = (FOLDER.parent / "sled").resolve()
    alone = {sled / "fall-back.yaml", *FOLDER.resolve().glob("emulated*.yaml")}
    assert {path.resolve() for folder in (FOLDER, sled) for path in folder.glob("*.yaml")} == used | alone


def test_the_fall_back_stands_in_an_experiment_that_only_an_emulation_can_run():
    scenario = read_document(FOLDER.parent / "sled" / "fall-back.yaml").scenario()
    assert [entry.params["fall_back"] for entry in scenario.policies] == [None, 2]
