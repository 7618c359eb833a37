"""A few seconds of what `python -m testbed.bench concurrent` does for minutes (invariants 3 and 5)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.bench import concurrent
from testbed.system.journal import JOURNAL_NAME


@pytest.mark.slow
def test_runs_cleans_and_starts_beside_each_other_lose_and_leave_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed.bench", "concurrent", "--minutes", "0.25", "--json"],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout)
    assert counts["lost"] == counts["left"] == []
    assert all(counts["ended"].get(kind, 0) > 0 for kind in ("simulation", "start", "clean", "prune"))


def test_what_is_lost_or_left_is_found_out(tmp_path: Path) -> None:
    """The trial itself can fail: a run without its table, a journal nobody can undo, a run that is not there."""
    trial = concurrent.Trial(tmp_path, tmp_path / "state", seed=1, emulated=False)
    concurrent.simulate(tmp_path / "left.yaml", trial.out)
    (run,) = (path for path in trial.out.iterdir() if not path.is_symlink())
    (run / "rounds.parquet").unlink()
    (tmp_path / "state" / "x").mkdir()
    (tmp_path / "state" / "x" / JOURNAL_NAME).write_text("?\n")
    trial.counts.ended["simulation"] = 1
    trial._judge()
    lost, left = trial.counts.lost, trial.counts.left
    assert any("1 simulations ended well and 0 runs are there" in line for line in lost)
    assert any("latest points at" in line for line in lost)
    assert f"{run.name} is damaged" in left and "journal x" in left
