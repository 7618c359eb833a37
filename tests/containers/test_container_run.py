"""The main job with containers as nodes, small: the same experiment gives the streams that processes give."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pandas as pd
import pytest

from testbed.containers.images import WITH_TORCH
from tests.policies.policy_file import write_policy
from tests.run_examples import command, experiment, finished, workload

# the first test to run waits for the images, which are built from nothing on a fresh machine
pytestmark = [pytest.mark.docker, pytest.mark.shaped, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def contained(tmp_path):
    return experiment(
        tmp_path,
        workload=workload(2),
        compute={"target": {"memory": "4GiB"}},
        policies=["autoregressive", {"wanspec": {"k": 2, "phi": 0.5}}],
    )


def streams(directory) -> dict[Any, Any]:
    rows = pd.read_parquet(directory / "requests.parquet")
    return {
        (policy, request): [*tokens] for policy, request, tokens in rows[["policy", "request", "tokens"]].to_numpy()
    }


def of_run(client) -> list[str]:
    return [one["Id"] for one in client.api.containers(all=True, filters={"label": "org.wan-testbed.run"})]


def test_containers_give_the_streams_of_processes(container_engine, node_images, contained, tmp_path):
    """Invariants 1 and 5; `auto` is docker here, for a memory limit is asked for."""
    inside, run = finished(contained, tmp_path / "docker", "--fabric", "relay")
    processes, other = finished(contained, tmp_path / "process", "compute={}", "--fabric", "relay")
    assert (inside["nodes"], processes["nodes"]) == ("docker", "process")
    assert inside["lossless"] == processes["lossless"] == {"checked": 4, "equal": 4, "kind": "checked"}
    assert streams(run) == streams(other)
    assert of_run(container_engine) == []
    manifest = json.loads((run / "manifest.json").read_text())
    facts = manifest["containers"]
    assert facts["node_images"]["target0"] == node_images["verifier"].name
    assert facts["images"][node_images["drafter"].name]["digest"] == node_images["drafter"].digest
    assert facts["exit_status"] == {"user0": 0, "target0": 0, "drafter0": 0}
    assert facts["engine"]
    assert (run / "logs" / "target0.log").exists()


def test_pytorch_is_only_where_a_role_needs_it(container_engine, node_images, contained, tmp_path):
    """Who must run transformers has the image with it; the streams are those of light nodes."""
    small = ("workload.requests=1", "policies=[wanspec]")
    summary, run = finished(contained, tmp_path, *small, "compute.target.passes=transformers", "--fabric", "relay")
    assert summary["lossless"] == {"checked": 1, "equal": 1, "kind": "checked"}
    manifest = json.loads((run / "manifest.json").read_text())
    drafter, with_torch = node_images["drafter"].name, node_images[f"verifier{WITH_TORCH}"].name
    assert manifest["containers"]["node_images"] == {"user0": drafter, "target0": with_torch, "drafter0": drafter}
    assert manifest["node_passes"]["target0"]["target"].startswith("transformers")
    assert manifest["node_passes"]["drafter0"] == {"draft": "lean"}


def test_a_policy_of_a_file_runs_in_containers(container_engine, node_images, contained, tmp_path):
    """It and the file it imports travel by content: no container sees the folder that they lie in."""
    write_policy(tmp_path / "mine")
    small = ("workload.requests=1", f"policies=[{tmp_path}/mine/my_policy.py:SPEC]")
    summary, run = finished(contained, tmp_path, *small, "--fabric", "relay")
    assert summary["lossless"] == {"checked": 1, "equal": 1, "kind": "checked"}
    manifest = json.loads((run / "manifest.json").read_text())
    assert [one["name"] for one in manifest["policies"]] == ["my_policy.py:SPEC"]
    assert manifest["containers"]["exit_status"] == {"user0": 0, "target0": 0, "drafter0": 0}
    rounds = pd.read_parquet(run / "rounds.parquet")
    assert len(rounds) and set(rounds["policy"]) == {"lookup"}


def test_containers_are_nodes_of_the_lab_too(container_engine, node_images, contained, tmp_path):
    """Invariants 1, 5 and 6, with its own kernel as the switch between the engine's namespaces."""
    small = ("workload.output_tokens=12", "policies=[wanspec]")
    summary, run = finished(contained, tmp_path, *small, "--fabric", "lab", "--nodes", "docker")
    assert summary["nodes"] == "docker"
    assert summary["lossless"] == {"checked": 2, "equal": 2, "kind": "checked"}
    assert summary["links"]["unmatched_packets"] == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["network"]["fabric"] == "lab"
    assert manifest["containers"]["exit_status"] == {"user0": 0, "target0": 0, "drafter0": 0}
    assert of_run(container_engine) == []


def test_a_run_killed_at_once_leaves_containers_that_clean_removes(container_engine, node_images, contained, tmp_path):
    process = command("run", contained, "--fabric", "relay", "--out", tmp_path / "runs")
    deadline = time.monotonic() + 60
    while len(of_run(container_engine)) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = subprocess.run([sys.executable, "-m", "testbed", "clean"], capture_output=True, text=True, check=True)
    assert done.stdout.count("removed container") == 3
    assert of_run(container_engine) == []
