"""`examples/ci` works as a repository of its own, and `action.yml` does what a runner would make of it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
EXAMPLE, ACTION = ROOT / "examples" / "ci", ROOT / "action.yml"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A plain clone of the folder, as of any repository."""
    origin, made = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(EXAMPLE, origin, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    me = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*me, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(origin), *words], check=True, capture_output=True)
    subprocess.run(["git", "clone", "-q", str(origin), str(made)], check=True, capture_output=True)
    return made


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As where the testbed is installed: `testbed` is on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "testbed"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m testbed "$@"\n')
    program.chmod(0o755)
    found = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": found}


def counts(file: Path) -> dict[str, int]:
    suite = ElementTree.parse(file).getroot()[0]
    return {kind: int(suite.attrib[kind]) for kind in ("failures", "errors", "skipped")}


@pytest.mark.slow
def test_the_experiment_holds_in_a_plain_clone(clone: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(["sh", "check.sh"], cwd=clone, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("holds: ") == 5  # two of wanspec, one of each of three policies
    assert counts(clone / "results.xml") == {"failures": 0, "errors": 0, "skipped": 0}


@pytest.mark.shaped
@pytest.mark.slow
def test_the_service_is_tested_over_links_in_a_plain_clone(clone: Path, environment: dict[str, str]) -> None:
    installed = any(one.name == "pytest-shaped" for one in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "testbed.api.pytest_shaped"]
    words = ["--shaped-required", "--shaped-fabric", "relay", "-p", "no:cacheprovider", "--rootdir", str(clone)]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, *words, "tests"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


def action() -> dict[str, Any]:
    return yaml.safe_load(ACTION.read_text())


def step(name: str) -> dict[str, Any]:
    (found,) = (one for one in action()["runs"]["steps"] if one["name"] == name)
    return found


def run_step(folder: Path, environment: dict[str, str], **inputs: str) -> tuple[int, dict[str, str], str]:
    """The action's own step, with what a runner puts in the place of its inputs: status, outputs, words."""
    given = {name: one.get("default", "") for name, one in action()["inputs"].items()} | inputs
    described = step("Run the experiment")
    variables = {
        name: given[value.removeprefix("${{ inputs.").removesuffix(" }}")] for name, value in described["env"].items()
    }
    output = folder / "output.txt"
    output.write_text("")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", described["run"]]
    everything = {**environment, **variables, "GITHUB_OUTPUT": str(output)}
    done = subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True, timeout=280)
    told = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, told, done.stdout + done.stderr


@pytest.mark.slow
def test_the_action_runs_an_experiment_and_fails_with_its_assertion(clone: Path, environment: dict[str, str]) -> None:
    small = {"experiment": "experiment.yaml", "overrides": "workload.requests=2 workload.output_tokens=8"}
    both = "tpot_ms < 1000\ne2e_ms < 0\n"
    status, told, said = run_step(clone, environment, **small, **{"assert": both})
    assert status == 5, said
    assert (Path(told["directory"]) / "report.html").is_file()
    assert counts(clone / "wan-testbed.xml") == {"failures": 3, "errors": 0, "skipped": 0}


def test_no_input_of_the_action_is_read_as_a_command() -> None:
    """Inputs reach the shell by its environment alone; set into the text of a script they would be run."""
    for one in action()["runs"]["steps"]:
        assert "${{" not in one["run"], one["name"]
    asked = set(step("Run the experiment")["env"].values())
    assert asked == {f"${{{{ inputs.{name} }}}}" for name in action()["inputs"]}


def test_the_workflow_of_the_example_gives_inputs_that_the_action_has() -> None:
    workflow = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "ci.yml").read_text())
    (step_,) = (one for one in workflow["jobs"]["wan"]["steps"] if "wan-testbed" in one.get("uses", ""))
    assert step_["with"].keys() <= action()["inputs"].keys()
    told = [line for line in (EXAMPLE / "check.sh").read_text().splitlines() if "--assert" in line]
    assert all(any(f"'{text}'" in line for line in told) for text in step_["with"]["assert"].splitlines())
