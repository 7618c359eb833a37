"""`policies: [FILE.py:SPEC]`: with parameters, in simulation, in sweeps with worker processes, at a node."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.scenario import Scenario
from testbed.files.pyfile import PythonFile
from testbed.nodes.control import Failed, PolicyStarted, Ready, StartPolicy
from testbed.policies import registry
from tests import run_examples, sweep_examples
from tests.in_process import testbed
from tests.nodes.loopback_node import Node
from tests.policies.policy_file import HELPER, LOOKUP, write_policy


def experiment(folder: Path, *policies: object, **changes: object) -> Path:
    return run_examples.experiment(folder, policies=list(policies), **changes)


def refused(folder: Path, *policies: object) -> str:
    with pytest.raises(BadInput) as caught:
        load_scenario(experiment(folder, *policies))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_is_relative_to_the_experiment_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_policy(tmp_path / "mine")
    (tmp_path / "elsewhere").mkdir()
    path = experiment(tmp_path, "mine/my_policy.py:SPEC", {"mine/my_policy.py:SPEC": {"k": 5, "label": "five"}})
    monkeypatch.chdir(tmp_path / "elsewhere")
    plain, five = load_scenario(path).policies
    assert (plain.name, plain.label, plain.params) == ("my_policy.py:SPEC", "lookup", {"k": 3})
    assert (five.label, five.params) == ("five", {"k": 5})
    assert plain.files == {"my_policy.py": LOOKUP, "helper.py": HELPER}
    assert plain.spec.name == "lookup"


def test_an_override_s_path_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_policy(tmp_path / "here")
    (tmp_path / "there").mkdir()
    path = experiment(tmp_path / "there", "autoregressive")
    monkeypatch.chdir(tmp_path / "here")
    for value in ("[my_policy.py:SPEC]", "[{my_policy.py:SPEC: {k: 4}}]"):
        override = f"policies={value}"
        assert load_scenario(path, [override]).policies[0].label == "lookup"


@pytest.mark.usefixtures("without_page")
def test_the_content_decides_the_run_and_is_in_its_manifest(tmp_path: Path) -> None:
    """A run that was is simulated again by the text that it had, wherever the file is now."""
    ids, texts = [], []
    for folder, helper in (("a", HELPER), ("b", HELPER), ("c", HELPER + "# changed\n")):
        write_policy(tmp_path / folder, helper=helper)
        path = experiment(tmp_path / folder, "my_policy.py:SPEC")
        options = ("--engine", "simulation", "--out", tmp_path / folder, "--json")
        done = testbed("run", path, *options)
        assert done.returncode == 0, done.stderr
        ids.append(json.loads(done.stdout)["run_id"])
        manifest = json.loads((tmp_path / folder / "latest" / "manifest.json").read_text())
        (told,) = manifest["policies"]
        texts.append(told["sha256"])
        assert told["name"] == "my_policy.py:SPEC" and "files" not in told
        shutil.rmtree(tmp_path / folder / "__pycache__", ignore_errors=True)
        (tmp_path / folder / "my_policy.py").unlink()
        (entry,) = Scenario.model_validate(manifest["scenario"]).policies
        assert PythonFile(entry.files).sha256 == told["sha256"]
        assert entry.spec.name == "lookup"
    assert ids[0] == ids[1] != ids[2]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.slow
def test_a_sweep_s_worker_processes_run_it(tmp_path: Path) -> None:
    write_policy(tmp_path)
    policies = ["my_policy.py:SPEC", "speculative"]
    path = sweep_examples.experiment(tmp_path, policies=policies, matrix={"seed": [1, 2, 3, 4]})
    alone, _ = sweep_examples.swept(path, tmp_path / "alone")
    together, _ = sweep_examples.swept(path, tmp_path / "together", workers=2)
    assert together.valid and together.table == alone.table
    assert set(together.table["policy"].to_pylist()) == {"lookup", "speculative"}


def test_a_sweep_over_files(tmp_path: Path) -> None:
    write_policy(tmp_path)
    matrix = {"policies.0": ["my_policy.py:SPEC", {"my_policy.py:SPEC": {"k": 1}}]}
    outcome, _ = sweep_examples.swept(sweep_examples.experiment(tmp_path, matrix=matrix), tmp_path / "out")
    assert outcome.valid and len(set(outcome.results)) == 2


def test_a_node_runs_the_text_that_it_is_sent(tmp_path: Path) -> None:
    """No file of that name is where the node runs: as in a container."""
    _, texts, _ = registry.find(f"{write_policy(tmp_path / 'away')}:SPEC")
    broken = {**texts, "helper.py": "import nothing_of_that_name"}
    for files, reply in ((texts, PolicyStarted()), (broken, None)):
        node = Node(tmp_path, {}, "target0", {"PYTHONPATH": ":".join(sys.path)})
        try:
            node.until(Ready)
            peers = {"user": ["user0"], "target": ["target0"]}
            rows = str(tmp_path / "target0.rows")
            node.send(StartPolicy("mine", "my_policy.py:SPEC", {"k": 2}, "target", peers, 0, (1, 1), rows, files))
            if reply is not None:
                assert node.until(PolicyStarted) == reply
            else:
                failed = node.until(Failed)
                assert failed.exit_code == 2
                assert "my_policy.py:1: running it failed (ModuleNotFoundError: No module named" in failed.error
        finally:
            node.end()


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("my_policy.py:OTHER", "my_policy.py:OTHER: no object has that name; it has SPEC"),
        ("my_policy.py:Target", "my_policy.py:Target: is not a PolicySpec (testbed.Policy); it has SPEC"),
        ("none.py:SPEC", "none.py: cannot be read: No such file"),
        ({"my_policy.py:SPEC": {"K": 2}}, "lookup: "),
        ({"my_policy.py:SPEC": 2}, "parameters are given by name"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_experiment_s_line(tmp_path: Path, policy: object, says: str) -> None:
    write_policy(tmp_path)
    said = refused(tmp_path, "autoregressive", policy)
    assert said.startswith(f"{tmp_path}/small.yaml:") and says in said


@pytest.mark.slow
def test_a_fault_names_the_file_s_own_line(tmp_path: Path) -> None:
    write_policy(tmp_path, helper="def guess(tokens, count):\n    return tokens[10**6]\n")
    process = run_examples.command(
        "run", experiment(tmp_path, "my_policy.py:SPEC"), "--engine", "simulation", "--out", tmp_path / "out"
    )
    _, err = process.communicate(timeout=250)
    assert process.returncode == 3
    assert f"IndexError: list index out of range; at {tmp_path}/helper.py:2" in err
