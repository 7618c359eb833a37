"""More drafting users than have a worker each: one model worker drafts for all of them, over shaped links.

Invariants 1, 4 and 5 end to end; times are left to the run's own validity.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.run_examples import command, experiment, finished, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

USERS = [f"user{number}" for number in range(7)]
DRAFTING_USERS = {
    "workload": {**workload(7, 12), "slo_tokens_per_s": [2, 4]},
    "devices": {"target": "a100-80gb/qwen3-32b", "drafter": "raspberry-pi-5/qwen3-0.6b-q4"},
    "place": {"user": {"far": 7}, "target": "near"},
    "policies": ["wisp", {"sled": {"mode": "as_wisp_describes"}}],
}
OPTIONS = ("--fabric", "relay", "--nodes", "process")


def shared_workers() -> set[int]:
    """Processes; a machine has one emulation at a time. What else a run could leave behind: `test_run`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"testbed.nodes.sharedworker" in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def test_seven_users_draft_on_one_worker_and_every_output_is_target_only_decoding(tmp_path):
    summary, run = finished(experiment(tmp_path, **DRAFTING_USERS), tmp_path, *OPTIONS)
    assert summary["lossless"] == {"checked": 14, "equal": 14, "kind": "checked"}
    assert not [reason for reason in summary["validity"]["reasons"] if "contradicts itself" in reason]
    manifest = json.loads((run / "manifest.json").read_text())
    (shared,) = manifest["workers"]["shared"]
    assert shared["nodes"] == USERS
    assert 20 < shared["resident_mb"] < 200
    assert [node for node, mb in manifest["node_memory_mb"].items() if mb > 0] == ["target0"]
    steps = pd.read_parquet(run / "steps.parquet")
    drafts = steps[steps["kind"] == "draft"]
    assert set(drafts["node"]) == set(USERS)
    took_ms = (drafts["finished_ns"] - drafts["started_ns"]) / 1e6
    assert (took_ms - drafts["paced_ms"] - drafts["overrun_ms"]).abs().max() < 1e-3
    for _, one in drafts.sort_values("started_ns").groupby(["policy", "node"]):
        assert (one["started_ns"].iloc[1:].to_numpy() >= one["finished_ns"].iloc[:-1].to_numpy()).all()
    assert not shared_workers()


def test_a_shared_worker_that_dies_ends_the_run_by_name(tmp_path):
    said = tmp_path / "stderr"
    with said.open("w") as stderr:
        many = ("workload.requests=48", *OPTIONS, "--out", tmp_path)
        process = command(
            "run", experiment(tmp_path, **DRAFTING_USERS), *many, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        deadline = time.monotonic() + 120
        while "wisp: 48 requests" not in said.read_text():
            assert time.monotonic() < deadline and process.poll() is None, said.read_text()
            time.sleep(0.05)
        (worker,) = shared_workers()
        os.kill(worker, signal.SIGKILL)
        status = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert status == 3, said.read_text()
    assert "shared model worker" in said.read_text()
    assert not shared_workers()
