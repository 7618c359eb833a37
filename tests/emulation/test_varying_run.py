"""Invariant 2 end to end where passes vary: an emulated run and its simulation draw the same time for each pass."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

PROFILES = Path("workloads/devices").absolute()
VARYING = {
    "workload": workload(2, 12),
    "devices": {
        role: str(PROFILES / f"l40s-{size}-varying.yaml") for role, size in (("target", "8b"), ("drafter", "1b"))
    },
    "policies": ["autoregressive", {"speculative": {"k": 2}}],  # these do the same jobs whatever the network does
    "repeats": 2,
}
KEY = ["policy", "repeat", "node", "job", "position"]


def paced(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "steps.parquet")[[*KEY, "paced_ms"]].sort_values(KEY, ignore_index=True)


def test_each_pass_of_an_emulated_run_takes_what_its_simulation_says(tmp_path: Path) -> None:
    path = experiment(tmp_path, **VARYING)
    summary, emulated = finished(path, tmp_path / "real", "--fabric", "relay", "--nodes", "process")
    _, simulated = finished(path, tmp_path / "virtual", "--engine", "simulation")
    pd.testing.assert_frame_equal(paced(emulated), paced(simulated))
    alone = paced(emulated)
    alone = alone[alone["policy"] == "autoregressive"]
    first, second = (alone.loc[alone["repeat"] == repeat, "paced_ms"].to_numpy() for repeat in (0, 1))
    assert len(set(first)) > 20 and (first != second).mean() > 0.9, "repeats have draws of their own"
    assert summary["lossless"]["checked"] == summary["lossless"]["equal"] == 8
