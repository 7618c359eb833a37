"""Several targets for real: requests of a target that stops go on at the other, over sockets, with real models.

Invariants 1 and 4: no token is lost or given twice, and the log agrees with itself.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]


def test_requests_of_a_target_that_stops_end_at_the_other_one(tmp_path: Path) -> None:
    path = experiment(
        tmp_path,
        workload={**workload(6, 40), "arrivals": {"poisson": {"rate_per_s": 6}}},
        place={"user": ["near", "near"], "target": ["near", "far"], "drafter": "far"},
        policies=["centralised", {"wanspec": {"k": 2, "silence_ms": 1000}}],
        routing={"rule": "round_robin", "failover_ms": 750},
        events=[{"at_s": 0.8, "stop_node": "target0"}],
    )
    summary, run = finished(path, tmp_path / "real", "--fabric", "relay", "--nodes", "process")
    assert summary["lossless"]["checked"] == summary["lossless"]["equal"] == 12
    assert not any("contradicts itself" in reason for reason in summary["validity"]["reasons"])
    rounds = pd.read_parquet(run / "rounds.parquet").groupby(["policy", "request"])["node"].agg(set)
    assert {"target0", "target1"} in rounds.tolist()
