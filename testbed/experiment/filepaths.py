"""Files that an experiment names by path: which of its keys may, and what such a path is relative to.

Rule kept: a path in a file is relative to that file, wherever the command is given; one in an override is relative to
where the command is given, as a shell has it. From then on it is relative to the current folder, or absolute. Knows
the keys by their places, so that it works on a file before it is validated, on a swept value and on a resolved
experiment alike. (A policy's own file, `FILE.py:SPEC`, is the business of `policies:` itself.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.files.named import LOAD, PROMPTS, SERIES, TABLE, TOPOLOGY, Kind, is_path, told
from testbed.files.pyfile import PythonFile

NAMED = {
    ("topology",): TOPOLOGY,
    ("network", "rtt_series"): SERIES,
    ("workload", "prompts"): PROMPTS,
    ("workload", "load"): LOAD,
    ("outcomes", "table"): TABLE,
    ("outcomes", "drawn", "table"): TABLE,
}
PROFILES = (("devices", "target"), ("devices", "drafter"))  # a profile's name has a slash, a path the suffix
MODELS = (("models", "target"), ("models", "draft"))  # OWNER/MODEL is a name: a path begins with a dot or a slash
POLICIES = "policies"
WEIGHTS = ".json"  # of a trained controller, anywhere in a policy's parameters

Change = Callable[[str], str]


def changed(data: Any, change: Change, models: bool = True) -> Any:
    """A copy of an experiment's mapping, or of a part of one, with every path in it changed; other text as it is."""
    return _changed(data, (), change, models)


def anchored(data: Any, folder: Path) -> Any:
    """`data` as a file of this folder has it, for a reader elsewhere: relative paths start at the folder."""
    return changed(data, lambda text: anchor(text, folder))


def anchored_value(key: str, value: Any, folder: Path) -> Any:
    """The same for one value by its dotted key."""
    parts = tuple(key.split("."))
    return _changed(value, parts, lambda text: anchor(text, folder), models=True)


def anchor(text: str, folder: Path) -> str:
    """One relative path, from the folder of the file that it stands in."""
    file = PythonFile.named(text)  # a topology may be a class of a Python file
    path, name = (text, "") if file is None else (str(file[0]), f":{file[1]}")
    if text.startswith(("/", "~")) or folder == Path():
        return text
    joined = os.path.normpath(folder / path)
    if not joined.startswith((".", "/")) and (text.startswith(".") or "/" not in joined):
        joined = f"./{joined}"  # else it would be read as a name
    return joined + name


def choices(data: Mapping[str, Any], beside: Path) -> Iterator[str]:
    """A line for each file of the experiment that could have been another: which was taken, and which was not."""
    for place, kind in NAMED.items():
        at: Any = data
        for part in place:
            at = at.get(part) if isinstance(at, Mapping) else None
        if isinstance(at, str) and (line := _told(at, kind, beside)):
            yield line


def _told(text: str, kind: Kind, beside: Path) -> str | None:
    return None if PythonFile.named(text) is not None else told(text, kind, beside)


def _changed(value: Any, place: tuple[Any, ...], change: Change, models: bool) -> Any:
    if isinstance(value, dict):
        return {key: _changed(one, (*place, key), change, models) for key, one in value.items()}
    if isinstance(value, list):
        return [_changed(one, (*place, index), change, models) for index, one in enumerate(value)]
    return change(value) if isinstance(value, str) and _is_path(value, place, models) else value


def _is_path(text: str, place: tuple[Any, ...], models: bool) -> bool:
    if place in NAMED:
        return PythonFile.named(text) is not None or is_path(text, NAMED[place])
    if len(place) > 2 and place[0] == "background" and place[-1] == "load":
        return is_path(text, LOAD)
    if place in PROFILES:
        return text.endswith(".yaml")
    if place in MODELS:
        return models and text.startswith((".", "/", "~"))
    return len(place) > 1 and place[0] == POLICIES and text.endswith(WEIGHTS)
