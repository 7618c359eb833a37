"""`list` and `show` of everything that has a name: from the code that uses it, readable by programs, nothing hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from testbed.cli.catalogue import Shelf
from testbed.cli.main import app
from testbed.cli.reference.commandline import verbs
from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.files.named import EXPERIMENT, find
from testbed.models.devices import load_profile
from testbed.models.lookup import LOOKUP, lookup_sha256
from testbed.results.metrics import FAMILIES, REGISTRY

ONE = {
    "experiments": "wanspec/rtt-sweep",
    "topology": "two-sites",
    "trace": "same-coast-spikes",
    "prompts": "mixed",
    "models": "tiny-draft",
    "devices": "l40s/llama-3.1-8b",
    "policies": "wanspec",
    "tables": "tiny-prose",
    "metrics": "tpot_ms",
    "loads": "azure-2023-conv",
}
KEYS = {"topology": "topologies", "trace": "traces"}  # where the group is not called as its list


def said(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(*words, "--json"))
    return found


def test_every_group_with_a_list_of_names_shows_one_too() -> None:
    """Runs and images have no names to type."""
    names = [verb.name.split()[1:] for verb in verbs(app)]
    listed = {words[0] for words in names if words[-1] == "list"} - {"runs", "images"}
    assert listed == {words[0] for words in names if words[-1] == "show"} - {"runs"} == set(ONE)
    assert len(Shelf.__subclasses__()) == len(ONE)


@pytest.mark.parametrize("group", ONE)
def test_what_is_listed_is_shown(group: str) -> None:
    rows = told(group, "list")[KEYS.get(group, group)]
    assert ONE[group] in [row["name"] for row in rows]
    assert told(group, "show", ONE[group])["schema_version"] == 1
    listed = said(group, "list")
    assert all(row["name"] in listed for row in rows)
    assert said(group, "show", ONE[group]).strip()


@pytest.mark.parametrize("group", ONE)
def test_an_unknown_name_is_refused(group: str) -> None:
    refused = CliRunner().invoke(app, [group, "show", f"{ONE[group]}-"])
    assert isinstance(refused.exception, BadInput)
    assert "\n" not in str(refused.exception) and ONE[group] in str(refused.exception)


def test_an_experiment_that_is_shown_is_one(tmp_path: Path) -> None:
    """`testbed experiments show quickstart > mine.yaml`."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(said("experiments", "show", "quickstart"))
    assert load_scenario(mine) == load_scenario(find("quickstart", EXPERIMENT))
    assert "yaml-language-server" not in mine.read_text(), "which would name a schema that is not there"
    sweep = told("experiments", "show", "wanspec/rtt-sweep")
    assert sweep["points"] == 170 and len(sweep["matrix"]["network.rtt_ms"]) == 17


def test_a_bad_file_hides_none_of_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "bad.yaml").write_text("name: [\n")
    (folder / "worse.yaml").write_text("matrix: 3\n")
    (folder / "good.yaml").write_text("# Mine. More.\nname: good\nmatrix: {seed: [1, 2]}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["experiments", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(done.stdout)["experiments"]}
    assert rows["good"]["points"] == 2 and rows["good"]["comment"] == "Mine. More." and "quickstart" in rows
    assert isinstance(done.exception, BadInput), "the exit status says that something is missing"
    complaints = [str(done.exception), *done.exception.__notes__]
    assert [one.partition(":")[0] for one in complaints] == ["experiments/bad.yaml", "experiments/worse.yaml"]


def test_metrics_are_the_registry_and_a_profile_is_its_file() -> None:
    rows = told("metrics", "list")["metrics"]
    assert [(row["name"], row["formula"], row["unit"]) for row in rows] == [
        (one.tag, one.formula, one.unit or "1") for one in REGISTRY.values()
    ]
    assert list(dict.fromkeys(row["family"] for row in rows)) == list(FAMILIES)
    shown = told("devices", "show", ONE["devices"])
    assert {**shown, "schema_version": 1} == {
        "schema_version": 1, **load_profile(ONE["devices"]).model_dump(mode="json")
    }  # fmt: skip


def test_the_drafter_without_a_model_is_listed_and_shown() -> None:
    shown = {**told("models", "show", LOOKUP), "schema_version": 1}
    assert shown == {
        "schema_version": 1, "name": LOOKUP, "parameters": 0, "bytes": 0, "sha256": lookup_sha256()
    }  # fmt: skip
    assert LOOKUP in [row["name"] for row in told("models", "list")["models"]]


def test_an_experiment_in_a_file_is_shown_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"name": "x", "description": "Two. Sentences."}))
    assert told("experiments", "show", str(path))["description"] == "Two. Sentences."
