"""Many users, one target, for real: batched passes of the real model over shaped links, drafts from users' own devices.

Invariants 1 and 4 end to end; times are left to the run's own validity.
"""

from __future__ import annotations

import pandas as pd
import pytest

from testbed.simulation.calibrate import calibrate
from tests.run_examples import experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

MANY_USERS = {
    "workload": workload(8, 16),
    "devices": {"target": "a100-80gb/qwen3-32b", "drafter": "jetson-orin-nano/qwen3-0.6b-q4"},
    "place": {"user": {"far": 4}, "target": "near"},
    "policies": [
        "centralised",
        {"centralised": {"mode": "as_reported", "max_batch": 2, "label": "static"}},
        {"sled": {"batch": 4, "max_draft": 4, "wait_ms": 60}},
    ],
}


def test_four_users_share_batched_passes_and_every_output_is_target_only_decoding(tmp_path):
    summary, run = finished(experiment(tmp_path, **MANY_USERS), tmp_path, "--fabric", "relay")
    assert summary["lossless"] == {"checked": 24, "equal": 24, "kind": "checked"}
    assert not [reason for reason in summary["validity"]["reasons"] if "contradicts itself" in reason]
    steps = pd.read_parquet(run / "steps.parquet")
    verifies = steps[steps["kind"] == "verify"].groupby("policy")["batch"].max()
    assert verifies.to_dict() == {"centralised": 4, "static": 2, "sled": 4}
    drafts = steps[steps["kind"] == "draft"]
    assert set(drafts["policy"]) == {"sled"}
    assert set(drafts["node"]) == {"user0", "user1", "user2", "user3"}


OFFLOADED = {
    "workload": workload(8),
    "place": {"user": {"near": 4}, "target": "near", "drafter": "far"},
    "policies": [{"speculative": {"k": 2}}, {"wanspec": {"k": 2, "phi": 0.5}}],
}


def test_requests_share_passes_of_target_and_workers_and_the_simulation_says_the_same(tmp_path):
    """Four at a time: batched drafts and verifications on real models; round by round the same tokens."""
    summary, run = finished(experiment(tmp_path, **OFFLOADED), tmp_path / "runs", "--fabric", "relay")
    assert summary["lossless"] == {"checked": 16, "equal": 16, "kind": "checked"}
    assert not [reason for reason in summary["validity"]["reasons"] if "contradicts itself" in reason]
    steps = pd.read_parquet(run / "steps.parquet")
    most = steps.groupby(["policy", "node", "kind"])["batch"].max()
    assert most.loc["speculative", "target0", "draft"] == most.loc["speculative", "target0", "verify"] == 4
    assert most.loc["wanspec", "target0", "verify"] == most.loc["wanspec", "drafter0", "draft"] == 4
    found = calibrate(run)
    assert found["tokens_identical"]
    for policy in ("speculative", "wanspec"):
        assert found["policies"][policy]["tokens_per_round"]["bias"] == 0.0, policy
