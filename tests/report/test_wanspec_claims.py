"""The shipped claims of the WANSpec paper: every row and figure asks for something that its sweep will have."""

import json
from functools import cache

import pytest

from testbed.models.outcomes import refuse_emulation
from testbed.report.claims import load_claims
from testbed.report.claims_figures import CDF
from testbed.scenario import read_document
from testbed.sweep.plan import load_sweep
from testbed.sweep.prompts import NUMBERS
from testbed.sweep.run import HEADLINE
from testbed.sweep.table import make_table

CLAIMS, FOLDER = load_claims("wanspec")
DOCS = FOLDER.parent.parent / "docs"


@cache
def sweep(key):
    entry = CLAIMS.sweeps[key]
    return load_sweep(FOLDER / entry.file, entry.overrides)


def asks(key, policy, where, columns):
    """Asserts that some point of the sweep has these settings and this policy, and its table these columns."""
    labels = {entry.label for entry in sweep(key).points[0].scenario.policies}
    assert policy in labels
    for name, wanted in where.items():
        wanted = wanted if isinstance(wanted, list) else [wanted]
        assert all(one in sweep(key).axes[name] for one in wanted), (name, wanted)
    assert set(columns) <= {*make_table(sweep(key).axes, (), {}, HEADLINE).column_names, *NUMBERS}


VALUES = [(claim, value) for claim in CLAIMS.claims for value in claim.values]


@pytest.mark.parametrize(("claim", "value"), VALUES, ids=[f"{claim.id}-{value.name}" for claim, value in VALUES])
def test_a_value_asks_for_a_point_policy_and_metric_of_its_sweep(claim, value):
    axis = [value.reach.axis] if value.reach else []
    asks(claim.sweep, value.policy, value.where, [value.metric, *([value.per] if value.per else []), *axis])
    if value.reduce == "only" and value.reach is None:
        assert set(value.where) == set(sweep(claim.sweep).axes), "one row: every axis is at one value"


@pytest.mark.parametrize("figure", CLAIMS.figures, ids=[figure.name for figure in CLAIMS.figures])
def test_a_figure_asks_for_columns_of_its_sweeps(figure):
    for panel in figure.each_panel():
        columns = [one for one in (panel.x, panel.y, panel.by, panel.each) if one]
        for policy in panel.policies:
            asks(panel.sweep, policy, panel.where, columns)
        assert (panel.kind == CDF) == (panel.x in NUMBERS and panel.y is None)


def test_emulated_values_have_their_policy_in_the_committed_summary():
    for claim, value in VALUES:
        said = value.emulation or claim.emulation
        if said is not None:
            assert value.policy in json.loads((DOCS / said).read_text())["policies"]


def test_sweeps_do_not_write_over_each_other():
    names = [sweep(key).experiment for key in CLAIMS.sweeps]
    assert len(names) == len(set(names))


def test_every_experiment_of_the_paper_is_used_or_stands_alone():
    used = {entry.file for entry in CLAIMS.sweeps.values()} | {"claims.yaml"}
    alone = {"beyond-40ms.yaml", "same-coast-spikes.yaml", "personal-device-spikes.yaml"}
    assert {path.name for path in FOLDER.glob("*.yaml")} == used | alone


def test_the_point_past_the_paper_can_be_emulated():
    scenario = read_document(FOLDER / "beyond-40ms.yaml").scenario()
    refuse_emulation(scenario.outcomes)
    scenario.refuse_emulation()
