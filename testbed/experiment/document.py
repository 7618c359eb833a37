"""An experiment file as it is read: overrides in place, then validated. Every mistake names its file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BadInput
from testbed.experiment.filepaths import anchored, choices
from testbed.experiment.overrides import assign
from testbed.experiment.policyentry import FOLDER
from testbed.experiment.scenario import Scenario
from testbed.files.pyfile import PythonFile
from testbed.files.reading import shown
from testbed.files.yamlfile import filling, load_yaml, refuse
from testbed.files.yamltext import KeyPath, Lines, parse


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Reads, overrides (`workload.requests=10`), validates. Raises BadInput in one line."""
    return read_experiment(path, overrides).scenario()


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Document:
    """A file of one run, not yet validated. Raises BadInput in one line."""
    document = read_document(path, overrides)
    if "matrix" in document.data:
        message = "matrix: this file describes many runs; use `testbed sweep`, or remove the matrix for a single run"
        refuse(path, document.lines, ("matrix",), message)
    return document


@dataclass(frozen=True)
class Document:
    """An experiment file as it stands, with its overrides in place, not yet validated."""

    path: Path
    data: dict[str, Any]
    lines: Lines
    overridden: dict[KeyPath, str]  # what set each place that the file did not

    def choices(self) -> list[str]:
        """Which files were taken, where their names could mean others."""
        return list(choices(self.data, self.path.parent))

    def scenario(self) -> Scenario:
        """Validates. Raises BadInput in one line."""
        with filling(self.path, Scenario, self.lines, self.overridden):
            return Scenario.model_validate(self.data, context={FOLDER: self.path.parent})


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Reads and overrides. Raises BadInput in one line."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: an experiment is a mapping with the keys name, topology, workload, ...")
    data = anchored(data, path.parent)
    overridden: dict[KeyPath, str] = {}
    for override in overrides:
        key, value = parse_override(override)
        place = assign(data, key, from_here(key, value), f"override {shown(override)}")
        overridden.pop(place, None)  # the order is that of the last override of each place
        overridden[place] = override
    return Document(path, data, lines, overridden)


def from_here(key: str, value: Any) -> Any:
    """Files of policies in the value of an override are relative to the current folder, not to the experiment."""
    if key.partition(".")[0] != "policies":
        return value
    if isinstance(value, list):
        return [from_here(key, one) for one in value]
    if isinstance(value, dict):
        return {from_here(key, name): of_it for name, of_it in value.items()}
    named = isinstance(value, str) and PythonFile.named(value) is not None
    return str(Path(value).absolute()) if named else value


def parse_override(text: str) -> tuple[str, Any]:
    """Key and value of `key=value`; the value is YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"override {shown(text)}: write key=value, for example workload.requests=10")
    return key, parse(value, f"override {text}", lined=False)[0]
