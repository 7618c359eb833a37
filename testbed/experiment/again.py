"""`experiment.yaml` of a run directory: the experiment as it was run, every default filled in, to be run again.

Rule kept: what the experiment named by path goes along, under `inputs/`, so that a run says what it was made from
even where those files have changed since. Models stay where they are: they are large, and the manifest has their
hashes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed.experiment.filepaths import changed
from testbed.experiment.policyentry import RESOLVED
from testbed.files.pyfile import PythonFile
from testbed.files.whole import writing
from testbed.files.yamlfile import load_yaml
from testbed.network.spec.topology import load_topology

NAME, INPUTS = "experiment.yaml", "inputs"


def write_experiment(run_dir: Path, resolved: Mapping[str, Any], engine: str, run_id: str) -> Path:
    """Writes the file and what it names into the run directory; returns its path. `resolved`: `Scenario.resolved`."""
    taken: dict[str, str] = {}  # path as the experiment has it, to its name under inputs/

    def kept(text: str) -> str:
        if text not in taken:
            taken[text] = _keep(text, run_dir / INPUTS, set(taken.values()))
        return f"{INPUTS}/{taken[text]}"

    with writing(run_dir):
        data = changed(dict(resolved), kept, models=False)
        data["models"] = {role: _model(name, run_dir) for role, name in data["models"].items()}
        data["policies"] = [_as_people_write(entry) for entry in data["policies"]]
        head = f"# Run {run_id}, as it was run; again: testbed run {NAME}" + (
            " --engine simulation" if engine == "simulation" else ""
        )
        path = run_dir / NAME
        path.write_text(f"{head}\n{_yaml(data)}", encoding="utf-8")
    return path


def _keep(text: str, folder: Path, names: set[str]) -> str:
    folder.mkdir(exist_ok=True)
    python = PythonFile.named(text)
    source = Path(text) if python is None else python[0]
    stem, suffix = source.stem, source.suffix if python is None else ".yaml"
    name, number = f"{stem}{suffix}", 1
    while name in names:
        number += 1
        name = f"{stem}-{number}{suffix}"
    if python is not None or _names_figures(source):  # what the class makes, or the file with its figures, says it all
        (folder / name).write_text(_yaml(load_topology(text).model_dump(mode="json", by_alias=True)), encoding="utf-8")
    else:
        shutil.copyfile(source.expanduser(), folder / name)
    return name


def _names_figures(source: Path) -> bool:
    """Whether this is a topology whose figures are in other files."""
    if source.suffix not in (".yaml", ".yml"):
        return False
    data, _ = load_yaml(source.expanduser())
    return isinstance(data, dict) and "rtt_csv" in data


def _model(name: str, run_dir: Path) -> str:
    """A folder by its way from the run directory; any other name as it is."""
    folder = Path(name).expanduser()
    if folder.is_absolute() or not (folder / "config.json").is_file():
        return name
    return os.path.relpath(folder, run_dir)


def _as_people_write(entry: Mapping[str, Any]) -> Any:
    if not RESOLVED <= set(entry) <= {*RESOLVED, "routing"}:
        return dict(entry)
    beside = {} if entry["label"] == entry["name"] else {"label": entry["label"]}
    beside |= {"routing": entry["routing"]} if entry.get("routing") else {}
    return {entry["name"]: {**beside, **entry["params"]}} if beside or entry["params"] else entry["name"]


def _yaml(data: Any) -> str:
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return text
