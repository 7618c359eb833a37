"""`init`, `validate` and `schema`: what a newcomer writes first, and what says that it is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from testbed.cli.main import app
from testbed.cli.reference.kept import schema_files
from testbed.cli.reference.schemas import ALL, KINDS
from testbed.errors import BadInput
from testbed.files.yamlfile import load_yaml
from testbed.policies import registry
from tests.policies.elsewhere import install

ROOT = Path(__file__).parents[2]


def said(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == status, (done.output, done.exception)
    return done.stdout


def test_what_init_writes_is_valid_and_fits_the_schema_that_it_names(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    assert said("init", folder).strip() == str(folder / "experiment.yaml")
    assert said("validate", folder / "experiment.yaml").startswith(f"{folder}/experiment.yaml: valid experiment (3 pol")
    first, *_ = (folder / "experiment.yaml").read_text().splitlines()
    schema = folder / first.removeprefix("# yaml-language-server: $schema=")
    assert sorted(folder.iterdir()) == sorted([folder / "experiment.yaml", schema])
    data, _ = load_yaml(folder / "experiment.yaml")
    Draft202012Validator(json.loads(schema.read_text())).validate(data)


@pytest.mark.slow
def test_what_init_writes_runs(tmp_path: Path) -> None:
    said("init", tmp_path)
    words = ["run", "experiment.yaml", "--engine", "simulation", "--json"]
    done = subprocess.run([sys.executable, "-m", "testbed", *words], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lossless"]["equal"] == 18


@pytest.mark.parametrize("there", ["experiment.yaml", "experiment.schema.json"])
def test_init_overwrites_nothing(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert isinstance(done.exception, BadInput) and there in str(done.exception)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_validate_says_all_of_all_files_and_its_status_too(tmp_path: Path) -> None:
    good, bad = ROOT / "topologies/two-sites.yaml", tmp_path / "bad.yaml"
    bad.write_text("name: x\ntopologie: y\nworkload: {requests: none}\n")
    done = CliRunner().invoke(app, ["validate", str(good), str(bad)])
    assert done.exit_code == BadInput.exit_code
    assert done.stdout == f"{good}: valid topology (two-sites: 2 regions)\n"
    complaints = done.stderr.splitlines()
    assert len(complaints) > 3 and all(line.startswith(f"testbed: {bad}:") for line in complaints)
    found = json.loads(said("validate", good, bad, "--json", status=BadInput.exit_code))
    assert (found["schema_version"], found["valid"]) == (1, False)
    assert [(one["kind"], one["valid"]) for one in found["files"]] == [("topology", True), ("experiment", False)]
    assert [f"testbed: {line}" for line in found["files"][1]["mistakes"]] == complaints


@pytest.mark.slow
def test_schemas_are_those_of_the_repository(tmp_path: Path) -> None:
    assert said("schema").split() == [*ALL]
    for kind in KINDS:
        assert (
            said("schema", kind)
            == (ROOT / f"schemas/{kind}.json").read_text()
            == schema_files()[f"schemas/{kind}.json"]
        )
    written = said("schema", "--out", tmp_path / "s").split()
    assert {Path(one).name for one in written} == {f"{kind}.json" for kind in ALL}
    assert said("schema", "topology", "--out", tmp_path / "t").strip() == str(tmp_path / "t" / "topology.json")
    unknown = CliRunner().invoke(app, ["schema", "experimnt"])
    assert isinstance(unknown.exception, BadInput) and "did you mean 'experiment'" in str(unknown.exception)


def test_a_sweep_has_a_matrix_and_a_policy_is_an_entry() -> None:
    sweep, entry = (json.loads(said("schema", kind)) for kind in ("sweep", "policy"))
    data, _ = load_yaml(ROOT / "experiments/quickstart.yaml")
    assert [one.message for one in Draft202012Validator(sweep).iter_errors(data)] == ["'matrix' is a required property"]
    policies = Draft202012Validator(entry)
    assert policies.is_valid("wanspec") and policies.is_valid({"wisp": {"label": "x"}})
    assert not policies.is_valid({"wanspec": {"kk": 2}}) and not policies.is_valid("wanspek")


def test_schemas_know_policies_that_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "pass")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert "elsewhere" in registry.names()
    assert Draft202012Validator(json.loads(said("schema", "policy"))).is_valid("elsewhere")
