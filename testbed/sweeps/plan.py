"""A sweep before it runs: the experiment file, its axes, and every point validated and named by what decides it.

Rule kept: a point's id covers its resolved scenario, the code's own text, and the hash of every input, so that a point
is done again exactly when something that decides it has changed. All bad input is found here, before anything runs.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter, ValidationError

from testbed.errors import BadInput
from testbed.experiment.document import Document, parse_override, read_document
from testbed.experiment.filepaths import anchored_value
from testbed.experiment.overrides import assign
from testbed.experiment.policyentry import FileName
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario
from testbed.files.datafiles import PACKAGE
from testbed.files.yamlfile import refuse, said
from testbed.files.yamltext import KeyPath
from testbed.simulation.inputs import Sources, by_id, choose_table, hashes_of
from testbed.sweeps.matrix import KEY, Axes, Settings, parse_axes, points
from testbed.tables.outcomes import MadeUp, Recorded, refuse_emulation


@dataclass(frozen=True)
class Point:
    """One combination of the matrix."""

    number: int  # from 0, in the order of the table
    settings: Settings  # dotted key to value
    scenario: Scenario
    run_id: str = ""

    @property
    def name(self) -> str:
        """How messages speak of it."""
        said = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"point {self.number}" + (f" ({said})" if said else "")


@dataclass(frozen=True)
class Sweep:
    """`axes` is empty where the file has no matrix: a sweep of one point."""

    experiment: str
    path: Path
    axes: Axes
    points: tuple[Point, ...]


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Reads and validates every point. An override of a swept key leaves only that value of its axis."""
    bare = read_document(path)
    axes = parse_axes(bare.data.pop(KEY), path, bare.lines) if KEY in bare.data else {}
    for key in axes:
        if key.partition(".")[0] == "time":
            message = f"{KEY}: {key!r} cannot be swept: points are compared, so all have one dilation"
            refuse(path, bare.lines, (KEY, key), f"{message}; give it under time:")
    axes = {key: tuple(anchored_value(key, value, path.parent) for value in values) for key, values in axes.items()}
    narrowed = dict(parse_override(text) for text in overrides)
    axes = {key: (narrowed[key],) if key in narrowed else values for key, values in axes.items()}
    document = read_document(path, [text for text in overrides if parse_override(text)[0] not in axes])
    document.data.pop(KEY, None)
    _refuse_conflicts(document, axes)
    return Sweep(
        experiment=_name(document),
        path=path,
        axes=axes,
        points=tuple(
            Point(number, settings, _scenario(document, settings)) for number, settings in enumerate(points(axes))
        ),
    )


def _name(document: Document) -> str:
    """The sweep's own, which names its folder even where the points have other names."""
    try:
        return TypeAdapter(FileName).validate_python(document.data.get("name"), strict=True)
    except ValidationError as error:
        words = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        refuse(document.path, document.lines, ("name",), f"name: {words} (it is {said(document.data.get('name'))})")


def identified(point: Point, engine: str, sources: Sources, more: Mapping[str, str]) -> Point:
    """The point with its id. Raises BadInput, naming the point, for inputs that are not there."""
    try:
        identity = _identity(point.scenario, sources, engine, more)
    except BadInput as error:
        raise BadInput(f"{point.name}: {error}") from error
    return Point(point.number, point.settings, point.scenario, identity)


def source_hash() -> str:
    """Of the package's own files: a commit's name says nothing of files changed since."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*")):
        if file.suffix in (".py", ".yaml", ".json") and file.is_file():
            digest.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _scenario(document: Document, settings: Settings) -> Scenario:
    data, overridden = copy.deepcopy(document.data), dict(document.overridden)
    for key, value in settings.items():
        source = f"{KEY} {key}={value!r}"
        place = assign(data, key, copy.deepcopy(value), source)
        overridden.pop(place, None)
        overridden[place] = f"of {source}"
    return Document(document.path, data, document.lines, overridden).scenario()


def _refuse_conflicts(document: Document, axes: Axes) -> None:
    """Two settings of one place: the one would undo the other in silence."""
    places: dict[KeyPath, str] = {}
    for key in axes:
        scratch = copy.deepcopy(document.data)
        place = assign(scratch, key, None, f"{document.path}: {KEY}: {key!r}")
        for other, other_key in places.items():
            if place[: len(other)] == other or other[: len(place)] == place:
                _conflict(document, key, f"axis {other_key!r}")
        for other, text in document.overridden.items():
            if other[: len(place)] == place:
                _conflict(document, key, f"override {text!r}; write {key}=VALUE to sweep only that value")
        places[place] = key


def _conflict(document: Document, key: str, other: str) -> NoReturn:
    refuse(document.path, document.lines, (KEY, key), f"{KEY}: {key!r} sets the same place as {other}")


def _identity(scenario: Scenario, sources: Sources, engine: str, more: Mapping[str, str]) -> str:
    """Of the files of a point besides what `resolve` reads, and of what its caller adds."""
    outcomes, found = scenario.outcomes, {"engine": engine, **more}
    if engine == "emulation":
        refuse_emulation(outcomes, scenario.compute.recorded)
    if isinstance(outcomes, MadeUp):  # no prompt is read; made-up ones decide nothing that the scenario does not
        unread = by_id("made-up", [str(number) for number in range(scenario.workload.requests)], "")
        experiment = resolve(scenario, sources, prompts=unread)
        if outcomes.drawn is not None:
            found["table"] = sources.table(outcomes.drawn.table).sha256
        return experiment.run_id(found)
    experiment = resolve(scenario, sources)
    if engine == "simulation" or scenario.compute.recorded:
        hashes = hashes_of(scenario, experiment.prompts, _unnoted, sources)
        named = sources.table(outcomes.table) if isinstance(outcomes, Recorded) else None
        found["table"] = choose_table(scenario, hashes, named, sources).sha256
    else:
        found |= {role: sources.weights(name) for role, name in scenario.models.model_dump().items()}
    return experiment.run_id(found)


def _unnoted(text: str) -> None:
    """What is noted while inputs are read is noted again when a point runs."""
