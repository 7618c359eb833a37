"""A sweep as its user sees it: one table, whatever the number of workers, and nothing is done twice or lost."""

import json

import pandas as pd
import pytest

from testbed.errors import BadInput
from testbed.results.statistics import FEWEST_PROMPTS
from testbed.results.store import RunDirectory
from testbed.simulation import engine
from testbed.sweeps import journal, workers
from testbed.sweeps import point as point_module
from testbed.sweeps.plan import load_sweep
from testbed.sweeps.point import simulate_point
from testbed.sweeps.run import choose_metrics
from testbed.sweeps.table import CSV, PARQUET
from tests.sweep_examples import SMALL, experiment, swept

# a draft of 8 tokens runs past the end of such a table
SHALLOW = {"outcomes": {"iid": {"match": 0.7, "depth": 4}}, "policies": [{"speculative": {}}]}


def files(outcome):
    return [(outcome.directory / name).read_bytes() for name in (PARQUET, CSV, "sweep.json")]


def test_the_table_has_a_row_for_every_point_and_policy_with_intervals_and_validity(tmp_path):
    outcome, watcher = swept(experiment(tmp_path), tmp_path)
    table = pd.read_parquet(outcome.directory / PARQUET)
    assert list(zip(table["network.rtt_ms"], table["seed"], table["policy"], strict=True)) == [
        (rtt, seed, policy) for rtt in (5, 20) for seed in (1, 2, 3) for policy in ("speculative", "wanspec")
    ]
    assert outcome.valid and table["valid"].all() and (table["status"] == "finished").all()
    assert (table["lossless_equal"] == 4).all()
    assert (table["engine"] == "simulation").all()
    assert (table.loc[table["policy"] == "speculative", "latency_ratio"] == 1).all()
    assert watcher.totals == [(6, 0)] and sum(watcher.advanced) == 6
    assert pd.read_csv(outcome.directory / CSV)["tpot_ms"].tolist() == table["tpot_ms"].tolist()


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    """Invariant 3, over processes."""
    one, _ = swept(experiment(tmp_path), tmp_path / "one", workers=1)
    two, _ = swept(experiment(tmp_path), tmp_path / "two", workers=2)
    assert files(one) == files(two)


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_figures_are_those_of_an_ordinary_run(tmp_path):
    """The light way through a point must not be another way to count."""
    path = experiment(tmp_path, matrix={"seed": [2]})
    outcome, watcher = swept(path, tmp_path, metrics=choose_metrics("all"), keep_logs=True)
    (row,) = outcome.results.values()
    summary = RunDirectory(outcome.directory / "runs" / row.directory).read_summary()
    assert summary["policies"] == row.policies
    run = engine.run(load_sweep(path).points[0].scenario, engine.Options(tmp_path / "run"), RunWatcher(watcher))
    assert run.summary["policies"] == row.policies
    assert run.summary["validity"] == {"valid": row.valid, "reasons": list(row.reasons), "advice": []}


def test_enough_prompts_give_intervals_and_few_give_none(tmp_path):
    low, high = {}, {}
    for prompts in (FEWEST_PROMPTS - 1, FEWEST_PROMPTS):
        path = experiment(tmp_path, matrix={"seed": [2]}, workload={**SMALL["workload"], "requests": prompts})
        table = pd.read_parquet(swept(path, tmp_path / str(prompts))[0].directory / PARQUET)
        low[prompts], high[prompts] = table["tpot_ms_low"], table["tpot_ms_high"]
        middle = table["tpot_ms"]
    assert low[FEWEST_PROMPTS - 1].isna().all() and high[FEWEST_PROMPTS - 1].isna().all()
    assert (low[FEWEST_PROMPTS] <= middle).all() and (middle <= high[FEWEST_PROMPTS]).all()


class RunWatcher:
    def __init__(self, watcher):
        self.note = watcher.note

    def phase(self, label, repeat, requests):
        pass

    def request_done(self, tokens):
        pass


def test_a_finished_sweep_is_not_run_again(tmp_path, monkeypatch):
    first, _ = swept(experiment(tmp_path), tmp_path)
    monkeypatch.setattr(workers, "simulate_point", lambda *_: pytest.fail("a finished point was run again"))
    second, watcher = swept(experiment(tmp_path), tmp_path)
    assert second.resumed == 6 and watcher.advanced == []
    assert second.table == first.table


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path, monkeypatch):
    whole, _ = swept(experiment(tmp_path), tmp_path / "whole")
    real, calls = simulate_point, []

    def interrupted(point, *rest):
        calls.append(point.number)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(point, *rest)

    monkeypatch.setattr(workers, "simulate_point", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swept(experiment(tmp_path), tmp_path / "cut")
    with (tmp_path / "cut" / "small-sweep-simulation" / journal.NAME).open("a") as file:
        file.write('{"run_id": "torn')  # what a power cut leaves
    resumed, _ = swept(experiment(tmp_path), tmp_path / "cut")
    assert resumed.resumed == 3
    assert files(resumed) == files(whole)
    again, _ = swept(experiment(tmp_path), tmp_path / "cut")
    assert again.resumed == 6, "the torn line must not hide the lines after it"


@pytest.mark.slow
def test_only_what_is_new_is_run(tmp_path):
    swept(experiment(tmp_path), tmp_path)
    wider, _ = swept(experiment(tmp_path, matrix={"network.rtt_ms": [5, 20, 40], "seed": [1, 2, 3]}), tmp_path)
    assert wider.resumed == 6 and len(wider.points) == 9
    other, _ = swept(experiment(tmp_path, workload={"prompts": "p", "requests": 2, "output_tokens": 11}), tmp_path)
    assert other.resumed == 0


def test_a_point_that_fails_is_named_and_loses_no_other(tmp_path):
    path = experiment(tmp_path, **SHALLOW, matrix={"policies.speculative.k": [2, 8], "seed": [1]})
    outcome, _ = swept(path, tmp_path)
    ((point, error),) = outcome.failed
    assert point.name == "point 1 (policies.speculative.k=8, seed=1)"
    assert error
    rows = outcome.table.to_pylist()
    assert [(row["status"], row["error"]) for row in rows] == [("finished", None), ("failed", error)]
    assert not outcome.valid
    again, _ = swept(path, tmp_path)
    assert again.resumed == 1, "a failed point is tried again"


def test_a_defect_in_one_point_loses_no_other(tmp_path, monkeypatch):
    real = point_module._simulate

    def faulty(point, *rest):
        return real(point, *rest) if point.number else {"": 0}["nothing"]

    monkeypatch.setattr(point_module, "_simulate", faulty)
    outcome, _ = swept(experiment(tmp_path, matrix={"seed": [1, 2]}), tmp_path)
    ((point, error),) = outcome.failed
    assert point.number == 0 and error.startswith("KeyError: 'nothing' (a bug in the testbed")
    assert outcome.results[outcome.points[1].run_id].valid


def test_a_sweep_whose_points_all_fail_is_bad_input(tmp_path):
    path = experiment(tmp_path, **SHALLOW, matrix={"policies.speculative.k": [8]})
    with pytest.raises(BadInput, match="every point failed; point 0"):
        swept(path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"place": {"user": "near", "target": "near", "drafter": "fare"}}, "no region 'fare'; did you mean 'far'"),
        ({"matrix": {"network.rtt_ms": [{"near": {"fat": 3}}]}}, "no region 'fat'; did you mean 'far'"),
        ({"devices": {"target": "h900", "drafter": "native"}}, "h900"),
        ({"outcomes": {"drawn": {"table": "tiny-prosa"}}}, "tiny-prose"),
    ],
)
def test_inputs_that_are_not_there_are_found_before_anything_runs(tmp_path, changes, complaint):
    with pytest.raises(BadInput, match="point 0") as caught:
        swept(experiment(tmp_path, **changes), tmp_path / "out")
    assert complaint in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_two_sweeps_do_not_write_one_directory(tmp_path):
    with journal.opened(tmp_path / "small-sweep-simulation"):
        with pytest.raises(BadInput, match="another sweep is writing here"):
            swept(experiment(tmp_path), tmp_path)


def test_sweep_json_says_what_was_swept_and_that_logs_were_not_kept(tmp_path):
    outcome, _ = swept(experiment(tmp_path), tmp_path)
    facts = json.loads((outcome.directory / "sweep.json").read_text())
    assert facts["axes"] == {"network.rtt_ms": [5, 20], "seed": [1, 2, 3]}
    assert (facts["points"], facts["failed"], facts["not_valid"]) == (6, 0, 0)
    assert facts["logs"] == "not kept: summaries only"
    assert not (outcome.directory / "runs").exists()


def test_unknown_metrics_are_refused_with_the_nearest_name():
    with pytest.raises(BadInput, match="did you mean 'tpot_ms'"):
        choose_metrics("tpt_ms")
