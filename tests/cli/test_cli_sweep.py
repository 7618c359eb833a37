"""The verbs about many runs, from a shell: exit statuses, machine-readable output, interrupts."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.in_process import testbed
from tests.sweep_examples import SMALL

EXPERIMENT = {**SMALL, "matrix": {"network.rtt_ms": [5, 20], "seed": [1, 2]}}


# a draft of 8 tokens runs past the end of such a table
SHALLOW = {"outcomes": {"iid": {"match": 0.7, "depth": 4}}, "policies": [{"speculative": {}}]}


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "testbed", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**EXPERIMENT, **changes}))
        return path

    return write


@pytest.mark.slow
def test_a_sweep_prints_one_document_and_exits_0(write, tmp_path):
    done = command("sweep", write(), "--out", tmp_path / "runs", "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["points"], answer["resumed"], answer["valid"], answer["failed"]) == (4, 0, True, [])
    again = testbed("sweep", write(), "--out", tmp_path / "runs")
    assert again.returncode == 0, again.stderr
    assert "4 of them finished before" in again.stdout
    assert answer["table"] in again.stdout, "a path is printed whole, however narrow the terminal"


def test_a_failed_point_exits_3_and_is_named_on_stderr(write, tmp_path):
    path = write(**SHALLOW, matrix={"policies.speculative.k": [2, 8]})
    done = testbed("sweep", path, "--out", tmp_path / "runs", "--json")
    assert done.returncode == 3, done.stderr
    assert "testbed: point 1 (policies.speculative.k=8) failed: " in done.stderr
    assert [one["point"] for one in json.loads(done.stdout)["failed"]] == [1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "{}"], "use `testbed sweep`"),
        (["sweep", "{}", "--metrics", "tpt_ms"], "no metric 'tpt_ms'"),
        (["sweep", "{}", "--engine", "emulation"], "synthetic outcomes have no models to run"),
        (["sweep", "{}", "network.rtt_ms=fast"], "network.rtt_ms"),
        (["compare", "no-such-run", "nor-this"], "no-such-run"),
        (["reproduce", "wanspek"], "did you mean 'wanspec'"),
    ],
)
def test_bad_input_exits_2_in_one_line_and_makes_nothing(write, tmp_path, arguments, complaint):
    out = [] if arguments[0] == "compare" else ["--out", tmp_path / "runs"]
    done = testbed(*(part.format(write()) for part in arguments), *out)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_an_interrupted_sweep_exits_130_leaves_no_process_and_goes_on_later(write, tmp_path):
    path = write(matrix={"seed": {"from": 1, "to": 1500, "count": 1500}})
    journal = tmp_path / "runs" / "small-sweep-simulation" / "points.jsonl"
    started = [sys.executable, "-m", "testbed", "sweep", str(path), "--out", str(tmp_path / "runs"), "--workers", "2"]
    sweep = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 100
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    sweep.send_signal(signal.SIGTERM)
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, errors
    assert b"Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        for _ in range(200):  # children that have ended may take a moment to be gone
            os.killpg(sweep.pid, 0)
            time.sleep(0.05)
    assert len(journal.read_bytes().splitlines()) >= 1
