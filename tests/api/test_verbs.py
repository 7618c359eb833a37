"""`tb.simulate`, `load`, `compare`, `sweep`, `capacity`, and how errors of a child come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import testbed as tb
from testbed.api import commandline
from tests import sweep_examples
from tests.policies.policy_file import write_policy
from tests.run_examples import SMALL

FLEET = Path(__file__).parents[2] / "experiments" / "wisp" / "fleet.yaml"

pytestmark = pytest.mark.usefixtures("without_pages")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tb.Run:
    return tb.simulate(SMALL, out=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_run_has_its_tables_and_its_verdict(run: tb.Run) -> None:
    assert run.valid and run.reasons == []
    for table in (run.requests, run.rounds, run.steps, run.messages, run.links):
        assert isinstance(table, pd.DataFrame) and len(table)
    assert run.summary == json.loads((run.directory / "summary.json").read_text())
    assert run.summary["engine"] == "simulation"
    assert "valid" in repr(run) and "<table" in run._repr_html_()


def test_metrics_are_those_of_the_summary(run: tb.Run) -> None:
    for name in ("tpot_ms", "acceptance_rate", "target_site_draft_ratio"):
        frame = run.metrics(name)
        assert list(frame.index) == ["autoregressive", "speculative", "wanspec"]
        for label, statistic in ((label, policy[name]) for label, policy in run.summary["policies"].items()):
            row = frame.loc[label]
            if statistic is None:
                assert pd.isna(row["value"])
                continue
            assert row["value"] == statistic.get("median", statistic.get("value"))
            assert statistic["ci95"] is None and pd.isna(row["low"]) and pd.isna(row["high"]), "few prompts"
    assert set(run.metrics("tpot_ms")["unit"]) == {"ms"}
    by_position = run.metrics("acceptance_by_position")
    known = run.summary["policies"]["speculative"]["acceptance_by_position"]["value"]
    assert list(by_position.loc["speculative"]["value"]) == known
    everything: Any = run.metrics()
    assert everything.index.names == ["metric", "policy"]
    one: Any = run.metrics("tpot_ms")
    assert everything.loc["tpot_ms", "wanspec"]["value"] == one.loc["wanspec"]["value"]
    with pytest.raises(tb.BadInput, match=r"no metric 'tpot'.*tpot_ms"):
        run.metrics("tpot")


def test_a_run_is_loaded_by_its_directory_or_its_folder(run: tb.Run, tmp_path: Path) -> None:
    for path in (run.directory, str(run.directory), run.directory.parent, run.directory.parent / "latest", run):
        assert tb.load(path).directory == run.directory.resolve()
    with pytest.raises(tb.BadInput, match=r"is .* a finished run directory"):
        tb.load(tmp_path)


@pytest.mark.slow
def test_runs_are_compared(run: tb.Run, tmp_path: Path) -> None:
    other = tb.simulate(SMALL, {"policies.speculative.k": 1}, out=tmp_path, progress=False)
    table: Any = tb.compare(run, other.directory)
    row = table.loc[str(other.directory), "autoregressive", "tpot_ms"]
    assert row["ratio"] == 1.0 and row["n"] == 3
    assert table.attrs["valid"] is True
    assert {"base", "other", "ratio", "low", "high", "n"} == set(table.columns)


@pytest.mark.slow
def test_a_simulation_runs_in_any_thread(tmp_path: Path) -> None:
    """As in kernels and workers that call from threads of theirs."""
    found: list[tb.Run] = []
    thread = threading.Thread(target=lambda: found.append(tb.simulate(SMALL, out=tmp_path, progress=False)))
    thread.start()
    thread.join()
    assert found[0].valid


@pytest.mark.slow
def test_a_sweep_is_a_table_also_from_a_script_without_a_guard(tmp_path: Path) -> None:
    """Worker processes do not run the caller's program again."""
    write_policy(tmp_path)
    path = sweep_examples.experiment(tmp_path, policies=["my_policy.py:SPEC", "speculative"])
    script = tmp_path / "script.py"
    script.write_text(
        "import testbed as tb\n"
        f"options = dict(workers=2, out={str(tmp_path / 'out')!r}, metrics=['tpot_ms'], progress=False)\n"
        f"table = tb.sweep({str(path)!r}, **options)\n"
        "print(len(table), sorted(set(table['policy'])), table.attrs['valid'], 'tpot_ms_low' in table)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=250)
    assert done.stdout == "12 ['lookup', 'speculative'] True True\n", done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_a_capacity_is_a_table(tmp_path: Path) -> None:
    table = tb.capacity(FLEET, rates=[8, (4, 8)], policies=["wisp"], duration_s=5, most=4, workers=1, progress=False)
    assert list(table["tokens_per_s"]) == [8, "4+8"]
    assert table["capacity"].between(0, 4).all()


def call(*arguments: object) -> Any:
    return commandline.call(arguments, lambda line: None)


@pytest.mark.slow
def test_a_child_s_error_is_raised_as_what_it_was(tmp_path: Path) -> None:
    with pytest.raises(tb.BadInput) as caught:
        tb.emulate({**SMALL, "topology": "aws-north-americ"}, out=tmp_path, progress=False)
    assert "nearest" in str(caught.value) or "aws-north-america" in str(caught.value)
    assert "\n" not in str(caught.value) and not str(caught.value).startswith("testbed:")
    with pytest.raises(tb.BadInput, match="--pcap"):
        call("run", "experiments/quickstart.yaml", "--engine", "simulation", "--pcap", "user0:target0")


@pytest.mark.slow
def test_a_child_ends_with_its_caller(tmp_path: Path) -> None:
    """Its standard input closes, as when the caller was killed; nothing is published."""
    with subprocess.Popen(
        [sys.executable, "-m", "testbed.api.child", "sweep", str(sweep_examples.experiment(
            tmp_path, matrix={"seed": list(range(2000))})), "--out", str(tmp_path), "--workers", "1"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdin is not None and child.stderr is not None
        while not (tmp_path / "small-sweep-simulation" / "points.jsonl").exists():
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
        child.stdin.close()
        assert child.wait(60) == 130


@pytest.mark.slow
def test_an_interrupt_reaches_the_child(tmp_path: Path) -> None:
    path = sweep_examples.experiment(tmp_path, matrix={"seed": list(range(2000))})
    journal = tmp_path / "small-sweep-simulation" / "points.jsonl"

    def interrupt() -> None:
        while not journal.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            tb.sweep(path, out=tmp_path, workers=1, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
