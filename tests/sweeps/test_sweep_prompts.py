"""The table of prompts of a sweep: what the statistics of its other table are of."""

import json
from typing import Any

import pandas as pd
import pytest

from testbed.errors import BadInput
from testbed.sweeps.run import SweepOptions, run_sweep
from tests.sweep_examples import experiment, swept


def tables(folder, **options):
    outcome, _ = swept(experiment(folder), folder / "runs", per_prompt=True, **options)
    return outcome, outcome.table.to_pandas(), outcome.prompts.to_pandas()


def test_there_is_a_row_for_every_point_policy_and_prompt(tmp_path):
    outcome, table, prompts = tables(tmp_path)
    assert len(prompts) == 2 * len(table)  # two prompts a point
    assert prompts.groupby(["point", "policy"])["prompt_id"].nunique().eq(2).all()
    assert (prompts["status"] == "finished").all() and prompts["valid"].all()
    baseline = prompts[prompts["policy"] == "speculative"]
    assert (baseline["latency_ratio"] == 1).all() and (baseline["latency_difference_ms"] == 0).all()
    assert pd.read_csv(outcome.directory / "prompts.csv")["e2e_ms"].tolist() == prompts["e2e_ms"].tolist()


def test_the_statistics_of_the_sweep_are_those_of_its_prompts(tmp_path):
    _, table, prompts = tables(tmp_path)
    grouped = prompts.groupby(["point", "policy"], sort=False)
    assert grouped["latency_ratio"].median().tolist() == pytest.approx(table["latency_ratio"].tolist(), abs=1e-6)
    assert grouped["latency_ratio"].max().tolist() == pytest.approx(table["latency_ratio_max"].tolist(), abs=1e-6)
    ratio = grouped["target_site_draft_passes"].sum() / grouped["baseline_target_site_draft_passes"].sum()
    assert ratio.tolist() == pytest.approx(table["target_site_draft_ratio"].tolist(), abs=1e-6)


@pytest.mark.slow
def test_finished_points_bring_their_prompts_back(tmp_path):
    first, _, _ = tables(tmp_path)
    again, _, _ = tables(tmp_path)
    assert again.resumed == len(again.points) and again.prompts == first.prompts


def test_prompts_are_kept_only_where_asked_for(tmp_path):
    outcome, _ = swept(experiment(tmp_path), tmp_path / "runs")
    assert outcome.prompts is None and not (outcome.directory / "prompts.parquet").exists()
    assert all(json.loads(line)["prompts"] == {} for line in (outcome.directory / "points.jsonl").read_text().split())


def test_prompts_of_an_emulated_sweep_are_refused(tmp_path):
    with pytest.raises(BadInput, match="simulated sweeps only"):
        unused: Any = None
        run_sweep(unused, SweepOptions(engine="emulation", per_prompt=True), unused)
