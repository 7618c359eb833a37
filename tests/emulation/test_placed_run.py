"""Several drafters for real: a request whose drafter stops goes on at another one, and load is reported over sockets.

Invariants 1 and 4: no token is lost or given twice, and the log agrees with itself.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]


def test_requests_of_a_drafter_that_stops_move_to_the_other_one(tmp_path: Path) -> None:
    """The nearer site drafts until it stops; the other one has the tokens that are there, and is reported on."""
    path = experiment(
        tmp_path,
        workload=workload(6, 40),
        place={"user": "near", "target": "near", "drafter": ["near", "far"]},
        background={"far": {"role": "drafter", "rate_per_s": 0.5}},
        policies=[{"wanspec": {"k": 2, "silence_ms": 300, "placement": {"rule": "load_aware", "move": True}}}],
        events=[{"at_s": 1.0, "stop_node": "drafter0"}],
    )
    summary, run = finished(path, tmp_path / "real", "--fabric", "relay", "--nodes", "process")
    assert summary["lossless"]["checked"] == summary["lossless"]["equal"] == 6
    assert not any("contradicts itself" in reason["text"] for reason in summary["validity"]["reasons"])
    messages = pd.read_parquet(run / "messages.parquet")
    opened = messages[messages["kind"] == "open"].sort_values("sent_ns").groupby("request")["dst"].agg(list)
    assert ["drafter0", "drafter1"] in opened.tolist(), "one moved while it ran"
    assert opened.iloc[-1][-1] == "drafter1"
    assert {"drafter0", "drafter1"} <= set(messages[messages["kind"] == "load"]["src"])
