"""The shipped claims of the WANSpec paper and its regions: every row and figure asks for what its sweep will have."""

import json
from functools import cache

import pandas as pd

from testbed.experiment.document import read_document
from testbed.reproduce.claims import load_claims
from testbed.reproduce.figures import CDF, with_part
from testbed.sweeps.plan import load_sweep
from testbed.sweeps.prompts import NUMBERS
from testbed.sweeps.run import HEADLINE
from testbed.sweeps.table import make_table
from testbed.tables.outcomes import refuse_emulation

NAMES = ("wanspec", "regions")
PAPERS = {name: load_claims(name) for name in NAMES}
SWEEPS = {key: (name, entry) for name, (claims, _) in PAPERS.items() for key, entry in claims.sweeps.items()}
FOLDER = PAPERS["wanspec"][1]
DOCS = FOLDER.parent.parent / "docs"


def test_no_two_papers_have_a_sweep_of_one_name():
    assert len(SWEEPS) == sum(len(claims.sweeps) for claims, _ in PAPERS.values())


@cache
def sweep(key):
    name, entry = SWEEPS[key]
    return load_sweep(PAPERS[name][1] / entry.file, entry.overrides)


@cache
def columns(key):
    return {*make_table(sweep(key).axes, (), {}, HEADLINE, "simulation").column_names, *NUMBERS}


@cache
def labels(key):
    return {entry.label for entry in sweep(key).points[0].scenario.policies}


VALUES = [(claim, value) for claims, _ in PAPERS.values() for claim in claims.claims for value in claim.values]


def defects(key, policy, where, asked):
    """Why no point of the sweep has these settings and this policy, or its table not these columns."""
    if policy not in labels(key):
        yield f"no policy {policy}"
    for name, wanted in where.items():
        there = sweep(key).axes.get(name, [])
        yield from (
            f"{name} is never {one}" for one in (wanted if isinstance(wanted, list) else [wanted]) if one not in there
        )
    yield from (f"no column {one}" for one in sorted({*asked} - columns(key)) if not part_of_an_axis(key, one))


def part_of_an_axis(key, name):
    """AXIS.KEY of an axis of mappings, in each of its values."""
    for axis, values in sweep(key).axes.items():
        if name.startswith(f"{axis}."):
            table = pd.DataFrame({axis: [json.dumps(one) for one in values]})
            return bool(with_part(table, name)[name].notna().all())
    return False


def value_defects(claim, value):
    axis = [value.reach.axis] if value.reach else []
    yield from defects(
        claim.sweep, value.policy, value.where, [value.metric, *([value.per] if value.per else []), *axis]
    )
    if value.reduce == "only" and value.reach is None:
        yield from (f"{axis} is open, for a single row" for axis in {*sweep(claim.sweep).axes} - {*value.where})


def panel_defects(panel):
    asked = [one for one in (panel.x, panel.y, panel.value, panel.by, panel.each) if one]
    for policy in panel.policies:
        yield from defects(panel.sweep, policy, panel.where, asked)
    if (panel.kind == CDF) != (panel.x in NUMBERS and panel.y is None):
        yield f"{panel.kind} of {panel.x}"


def test_every_value_asks_for_a_point_policy_and_metric_of_its_sweep():
    """Lists every defect of the file at once."""
    assert [f"{claim.id}, {value.name}: {one}" for claim, value in VALUES for one in value_defects(claim, value)] == []


def test_every_figure_asks_for_columns_of_its_sweeps():
    panels = [
        (figure.name, panel)
        for claims, _ in PAPERS.values()
        for figure in claims.figures
        for panel in figure.each_panel()
    ]
    assert [f"{name}: {one}" for name, panel in panels for one in panel_defects(panel)] == []


def test_a_wrong_value_is_a_defect():
    """The lists above can be other than empty."""
    claim, value = next(
        (claim, value) for claim, value in VALUES if value.where and value.reach is None and value.reduce == "only"
    )
    wrong = value.model_copy(update={"policy": "wanspek", "where": {"seed": -1}, "metric": "latency"})
    found = list(value_defects(claim, wrong))
    assert found[:3] == ["no policy wanspek", "seed is never -1", "no column latency"]
    assert {*found[3:]} == {f"{axis} is open, for a single row" for axis in {*sweep(claim.sweep).axes} - {"seed"}}


def test_emulated_values_have_their_policy_in_the_committed_summary():
    for claim, value in VALUES:
        said = value.emulation or claim.emulation
        if said is not None:
            assert value.policy in json.loads((DOCS / said).read_text())["policies"]


def test_sweeps_do_not_write_over_each_other():
    names = [sweep(key).experiment for key in SWEEPS]
    assert len(names) == len(set(names))


def test_every_experiment_of_the_paper_is_used_or_stands_alone():
    alone = {"beyond-40ms.yaml", "same-coast-spikes.yaml", "personal-device-spikes.yaml", "emulated.yaml"}
    for claims, folder in PAPERS.values():
        used = {entry.file for entry in claims.sweeps.values()} | {"claims.yaml"}
        assert {path.name for path in folder.glob("*.yaml")} - used <= alone


def test_what_is_emulated_of_the_regions_is_part_of_what_is_simulated():
    folder = PAPERS["regions"][1]
    emulated = load_sweep(folder / "emulated.yaml").points
    simulated = [one.scenario.model_dump(exclude={"name", "description", "compute"}) for one in sweep("offload").points]
    assert len(emulated) == 3
    for one in emulated:
        assert one.scenario.model_dump(exclude={"name", "description", "compute"}) in simulated
        one.scenario.refuse_emulation()


def test_the_point_past_the_paper_can_be_emulated():
    scenario = read_document(FOLDER / "beyond-40ms.yaml").scenario()
    refuse_emulation(scenario.outcomes)
    scenario.refuse_emulation()
