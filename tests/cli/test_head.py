"""`testbed VERB | head`, for every verb: a reader that goes away changes neither what is done nor the exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.main import app
from testbed.cli.reference.commandline import verbs
from tests.sweep_examples import experiment

# Of every verb: arguments with which it prints something, and its exit status. What takes long, or changes the machine,
# is given a mistake: its line goes the same way.
NONE = "no-such-thing"
WORDS: dict[str, tuple[list[str], int]] = {
    "calibrate": (["{run}"], 2),
    "capacity": (["{one}", "--rates", "1", "--most", "1", "--duration", "1"], 0),
    "clean": (["--run", NONE], 2),
    "compare": (["{run}", "{run}"], 0),
    "completion": (["bash"], 0),
    "devices list": ([], 0),
    "devices show": (["native"], 0),
    "doctor": ([], 0),
    "experiments list": ([], 0),
    "experiments show": (["quickstart"], 0),
    "export": (["{run}", "--format", "csv", "--out", "{out}"], 0),
    "images build": (["--offline", "--base", NONE], 2),
    "images daemon": ([NONE], 2),
    "images list": (["--help"], 0),
    "init": (["{out}"], 0),
    "loads fit": ([NONE], 2),
    "loads list": ([], 0),
    "loads show": (["azure-2023-conv"], 0),
    "metrics list": ([], 0),
    "metrics show": (["tpot_ms"], 0),
    "models add": ([NONE], 2),
    "models check": ([NONE], 2),
    "models fit-estimator": ([NONE], 2),
    "models list": ([], 0),
    "models profile": ([NONE, "--out", "{out}.yaml"], 2),
    "models show": (["tiny-draft"], 0),
    "models train": (["--text", NONE, "--out", "{out}"], 2),
    "models train-controller": ([NONE], 2),
    "pingall": ([NONE], 2),
    "plan": ([NONE], 2),
    "policies check": (["autoregressive"], 0),
    "policies list": ([], 0),
    "policies show": (["wanspec"], 0),
    "probe": ([NONE], 2),
    "prompts list": ([], 0),
    "prompts show": (["prose", "--json"], 0),
    "record": (["--out", "{out}.bin"], 2),
    "report": (["{run}"], 0),
    "reproduce": ([NONE], 2),
    "run": (["{one}", "--engine", "simulation", "--out", "{out}"], 0),
    "runs list": (["--out", "{runs}"], 0),
    "runs query": (["--out", "{runs}"], 0),
    "runs show": (["{run}"], 0),
    "runs prune": (["--out", "{runs}", "--dry-run"], 0),
    "schema": (["experiment"], 0),
    "shell": ([NONE], 2),
    "sweep": (["{many}", "--out", "{out}", "--workers", "1"], 0),
    "tables list": ([], 0),
    "tables show": (["tiny-prose"], 0),
    "topology diff": (["aws-europe", "aws"], 0),
    "topology import": ([NONE], 2),
    "topology list": ([], 0),
    "topology show": (["aws-europe"], 0),
    "trace import": ([NONE], 2),
    "trace list": ([], 0),
    "trace show": (["personal-devices"], 0),
    "validate": (["{one}"], 0),
}
ALL = [verb.name.removeprefix("testbed ") for verb in verbs(app)]
SMALL = {"workload": {"prompts": "made-up", "requests": 3, "output_tokens": 8, "arrivals": {"closed_loop": {}}}}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("head")
    one, many, runs = folder / "one", folder / "many", folder / "runs"
    for each in (one, many):
        each.mkdir()
    found = {"one": experiment(one, **SMALL, matrix=None), "many": experiment(many, **SMALL, matrix={"seed": [1, 2]})}
    command = [sys.executable, "-m", "testbed", "run", str(found["one"]), "--engine", "simulation", "--out", str(runs)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return {**{name: str(path) for name, path in found.items()}, "runs": str(runs), "run": str(runs / "latest")}


def test_no_verb_is_left_out() -> None:
    assert sorted(ALL) == sorted(WORDS)


@pytest.mark.slow  # a process each
@pytest.mark.parametrize("verb", WORDS)
def test_a_reader_that_is_gone_changes_no_status(verb: str, places: dict[str, str], tmp_path: Path) -> None:
    """Stricter than head, which is gone only later: not even the first line has a reader."""
    arguments, status = WORDS[verb]
    given = [one.format(**places, out=tmp_path / "out") for one in arguments]
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "testbed", *verb.split(), *given]
    done = subprocess.run(command, stdout=writer, stderr=writer, stdin=subprocess.DEVNULL, timeout=120, cwd=tmp_path)
    os.close(writer)
    assert done.returncode == status


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["metrics list", "experiments list", "schema", "prompts show"])
def test_what_head_gets_is_the_beginning(verb: str, tmp_path: Path) -> None:
    arguments, _ = WORDS[verb]
    command = [sys.executable, "-m", "testbed", *verb.split(), *arguments]
    whole = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    piped = f"set -o pipefail; {' '.join(command)} | head -n 2"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == whole.stdout.splitlines()[:2]
