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

import testbed
from testbed.errors import BadInput
from testbed.models.outcomes import MadeUp, refuse_emulation
from testbed.scenario import Document, FileName, Scenario, parse_override, read_document, run_id
from testbed.settings import assign
from testbed.simulation.inputs import Sources, choose_table, hashes_of
from testbed.sweep.matrix import KEY, Axes, Settings, parse_axes, points
from testbed.yamlfile import refuse, said
from testbed.yamltext import Place

SOURCE = Path(testbed.__file__).parent


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
        ingredients = {"engine": engine, **more, **_ingredients(point.scenario, sources, engine)}
    except BadInput as error:
        raise BadInput(f"{point.name}: {error}") from error
    return Point(point.number, point.settings, point.scenario, run_id(point.scenario.resolved(), ingredients))


def source_hash() -> str:
    """Of the package's own files: a commit's name says nothing of files changed since."""
    digest = hashlib.sha256()
    for file in sorted(SOURCE.rglob("*")):
        if file.suffix in (".py", ".yaml", ".json") and file.is_file():
            digest.update(f"{file.relative_to(SOURCE)}\0".encode() + file.read_bytes())
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
    places: dict[Place, str] = {}
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


def _ingredients(scenario: Scenario, sources: Sources, engine: str) -> dict[str, str]:
    if engine == "emulation":
        refuse_emulation(scenario.outcomes)
    topology = scenario.network.applied_to(sources.topology(scenario.topology))
    for _, site in scenario.place.nodes().values():
        topology.one_way_ms(site, site)  # refuses a site that is not there
    found = {"topology": topology.model_dump_json()}
    if scenario.network.rtt_series is not None:
        found["rtt_series"] = sources.series(scenario.network.rtt_series).sha256
    for role, device in scenario.devices.model_dump().items():
        found[f"device.{role}"] = sources.profile(device).model_dump_json()
    if not isinstance(scenario.outcomes, MadeUp):
        found["prompts"] = sources.prompts(scenario.workload.prompts).sha256
        if engine == "simulation":
            found["table"] = choose_table(scenario, hashes_of(scenario, _unnoted, sources), None, sources).sha256
        else:
            found |= {role: sources.weights(name) for role, name in scenario.models.model_dump().items()}
    elif scenario.outcomes.drawn is not None:
        found["table"] = sources.table(scenario.outcomes.drawn.table).sha256
    return found


def _unnoted(text: str) -> None:
    """What is noted while inputs are read is noted again when a point runs."""
