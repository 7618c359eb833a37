"""All runs of a folder as tables: what a query finds, and that it reaches nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

import testbed as tb
from testbed.errors import BadInput
from testbed.results.query import Filters, metrics, query
from tests.in_process import testbed
from tests.sweep_examples import SMALL


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, without_pages: None) -> Path:
    """Two runs, one in the folder and one of a sweep in it."""
    out = tmp_path_factory.mktemp("folder") / "runs"
    one = {key: value for key, value in SMALL.items() if key != "matrix"} | {"name": "one"}
    first = tb.simulate(one, out=out)
    second = tb.simulate({**one, "name": "two", "seed": 5}, out=out / "many-sweep-0123456789" / "runs")
    assert first.directory.parent == out and second.directory.parent.name == "runs"
    return out


def test_runs_and_their_logs_are_tables_that_run_joins(runs: Path) -> None:
    found = query(runs, "SELECT run, experiment, valid, engine FROM runs ORDER BY experiment")
    assert list(found["experiment"]) == ["one", "two"] and list(found["engine"]) == ["simulation"] * 2
    assert found["run"][1].startswith("many-sweep-0123456789/runs/two-")
    joined = query(
        runs, "SELECT experiment, count(*) n, sum(len(tokens)) tokens FROM requests JOIN runs USING (run) GROUP BY 1"
    )
    for name in ("one", "two"):
        (row,) = joined[joined["experiment"] == name].to_dict("records")
        (path,) = runs.glob(f"**/{name}-*")
        requests = tb.load(path).requests
        assert (row["n"], row["tokens"]) == (len(requests), requests["tokens"].map(len).sum())


@pytest.mark.parametrize("kind", ["requests", "rounds", "steps", "messages", "links", "replay", "probes"])
def test_every_log_is_a_table_with_the_columns_that_it_has(runs: Path, kind: str) -> None:
    found = query(runs, f"SELECT * FROM {kind} WHERE run LIKE 'one-%'")
    (path,) = runs.glob("one-*")
    if kind in ("replay", "probes"):
        assert found.empty
        return
    log = getattr(tb.load(path), kind)
    assert set(found.columns) == {"run", *log.columns} and len(found) == len(log)


def test_metrics_are_those_of_the_summaries(runs: Path) -> None:
    found = metrics(runs, Filters(experiment="one", metric="tpot_ms"))
    (path,) = runs.glob("one-*")
    said = tb.load(path).summary["policies"]
    assert {row["policy"]: row["value"] for row in found.to_dict("records")} == {
        policy: known["tpot_ms"]["median"] for policy, known in said.items()
    }
    assert len(metrics(runs, Filters(engine="emulation"))) == 0
    pd.testing.assert_frame_equal(tb.query(runs=runs, experiment="one", metric="tpot_ms"), found)


OUTSIDE = [
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM read_parquet('{parquet}')",
    "COPY (SELECT 1) TO '{new}'",
    "COPY runs TO '{parquet}'",
    "EXPORT DATABASE '{new}'",
    "ATTACH '{new}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET enable_external_access",
    "SET lock_configuration = false",
    "PRAGMA enable_external_access = true",
    "SELECT * FROM secret_frame",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_a_query_reads_and_writes_nothing_else(runs: Path, tmp_path: Path, sql: str) -> None:
    secret_frame = pd.DataFrame({"a": [1]})  # what a query of DuckDB would find by its name in here
    file, new = tmp_path / "file.csv", tmp_path / "new"
    file.write_text("a\n1\n")
    parquet = next(runs.glob("one-*/requests.parquet"))
    before = parquet.read_bytes()
    with pytest.raises(BadInput, match=r"runs query: .+") as refused:
        query(runs, sql.format(file=file, folder=tmp_path, new=new, parquet=parquet))
    assert "\n" not in str(refused.value) and len(secret_frame) == 1
    assert not new.exists() and parquet.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_a_run_of_an_older_version_lacks_columns_and_is_read_all_the_same(runs: Path, tmp_path: Path) -> None:
    (first,) = runs.glob("one-*")
    old = tmp_path / "runs" / "old-0123456789"
    shutil.copytree(first, old)
    (old / "SHA256SUMS").unlink()
    pd.read_parquet(old / "steps.parquet").drop(columns="overrun_ms").to_parquet(old / "steps.parquet")
    found = query(tmp_path / "runs", "SELECT overrun_ms, started_ns FROM steps")
    assert found["overrun_ms"].isna().all() and not found["started_ns"].isna().any()


def test_a_table_that_is_damaged_is_said_in_a_line(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs", symlinks=True)
    (path,) = tmp_path.glob("runs/one-*/steps.parquet")
    path.write_bytes(b"PAR1 not so")
    with pytest.raises(BadInput, match=r"runs query: .*steps\.parquet"):
        query(tmp_path / "runs", "SELECT count(node) FROM steps")
    assert len(query(tmp_path / "runs", "SELECT * FROM runs")) == 2


def test_the_verb_prints_rows_and_says_what_is_wrong(runs: Path) -> None:
    done = testbed("runs", "query", "--out", runs, "SELECT experiment FROM runs ORDER BY 1", "--json")
    assert done.returncode == 0 and '"rows"' in done.stdout and '"two"' in done.stdout
    asked = ("--metric", "tpot_ms", "--experiment", "one", "--json")  # a table breaks words where it is narrow
    assert "tpot_ms" in testbed("runs", "query", "--out", runs, *asked).stdout
    assert testbed("runs", "query", "--out", runs, "--experiment", "none").stdout == "no rows\n"
    for words, said in [
        (["SELECT nothing FROM runs"], "nothing"),
        (["SELECT 1", "--metric", "tpot_ms"], "WHERE"),
        (["--metric", "tpotms"], "tpot_ms"),
    ]:
        wrong = testbed("runs", "query", "--out", runs, *words)
        assert wrong.returncode == 2 and said in wrong.stderr and wrong.stderr.count("\n") == 1, wrong.stderr


@pytest.mark.parametrize("by", ["directory", "name", "run id"])
def test_a_run_is_shown_by_directory_name_or_id(runs: Path, by: str) -> None:
    (path,) = runs.glob("one-*")
    word = {"directory": str(path), "name": path.name, "run id": tb.load(path).summary["run_id"][:6]}[by]
    done = testbed("runs", "show", word, "--out", runs)
    assert done.returncode == 0 and "one" in done.stdout and "tpot_ms" in done.stdout
    assert testbed("runs", "show", "no-such", "--out", runs).returncode == 2


def test_finished_runs_are_removed_where_it_is_asked_for_and_agreed_to(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(runs, out, symlinks=True)
    (one,) = out.glob("one-*")
    said = testbed("runs", "prune", "--out", out)
    assert said.stdout == "nothing to prune\n" and one.exists()
    refused = testbed("runs", "prune", "--out", out, "--older-than", "0")
    assert refused.returncode == 2 and "--yes" in refused.stderr and one.exists()
    dry = testbed("runs", "prune", "--out", out, "--older-than", "0", "--dry-run")
    assert dry.stdout.count("would remove") == 2 and one.exists()
    assert testbed("runs", "prune", "--out", out, "--older-than", "1", "--yes").stdout == "nothing to prune\n"
    assert testbed("runs", "prune", "--out", out, "--not-valid", "--yes").stdout == "nothing to prune\n"
    gone = testbed("runs", "prune", "--out", out, "--older-than", "0", "--experiment", "one", "--yes")
    assert gone.stdout == f"removed {one}\n" and not one.exists() and not os.path.lexists(out / "latest")
    assert len(query(out, "SELECT * FROM runs")) == 1
