"""Policies by name: the built-in ones, those that other distributions add under the entry points `testbed.policies`,
and those of a Python file, `FILE.py:SPEC`, whose texts come with the name.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from testbed.errors import BadInput
from testbed.files.pyfile import PythonFile
from testbed.policies import autoregressive, centralised, sled, speculative, wanspec, wisp
from testbed.policies.faults import own_line, said
from testbed.policies.spec import PolicySpec

GROUP = "testbed.policies"

_BUILT_IN = {
    spec.name: spec
    for spec in (autoregressive.SPEC, speculative.SPEC, wanspec.SPEC, centralised.SPEC, sled.SPEC, wisp.SPEC)
}


def shipped() -> list[PolicySpec]:
    """The built-in policies, by name."""
    return [_BUILT_IN[name] for name in sorted(_BUILT_IN)]


def names() -> list[str]:
    """Every policy an experiment may name."""
    return sorted({*_BUILT_IN, *(point.name for point in _installed(tuple(sys.path)))})


def find(text: str, folder: Path | None = None) -> tuple[str, dict[str, str], PolicySpec]:
    """What an experiment calls a policy, as name, texts of its file, and policy; texts are empty without a file.

    A file's path is relative to `folder`, the name only keeps the file's own: where it lay decides nothing.
    """
    found = PythonFile.named(text)
    if found is None:
        return text, {}, get(text)
    path, name = found
    file = PythonFile.read(path if folder is None else folder / path)
    return f"{file.name}:{name}", dict(file.texts), _of_file(file, name)


def get(name: str, texts: Mapping[str, str] | None = None) -> PolicySpec:
    """The policy of this name; `texts` where it is a file's, as `find` gave them.

    A built-in name cannot be taken over by a third party.
    """
    if texts:
        return _of_file(PythonFile(texts), name.rpartition(":")[2])
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for point in _installed(tuple(sys.path)):
        if point.name == name:
            return _load(point)
    known = names()
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise BadInput(f"no policy {name!r}; nearest is {nearest[0]!r} (known: {', '.join(known)})")


@cache
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Third parties' policies on this `sys.path`; looked for once, as every installed distribution is read for it."""
    return tuple(entry_points(group=GROUP))


def _of_file(file: PythonFile, name: str) -> PolicySpec:
    return file.get(name, PolicySpec, "a PolicySpec (testbed.Policy)")


def _load(point: EntryPoint) -> PolicySpec:
    try:
        spec = point.load()
    except (Exception, SystemExit) as error:
        place = own_line(error, point.module.partition(".")[0])
        raise BadInput(f"policy {point.name} ({point.value}) cannot be loaded: {said(error)}; at {place}") from error
    if not isinstance(spec, PolicySpec) or spec.name != point.name:
        raise BadInput(f"entry point {point.name} = {point.value} in group {GROUP} must be a PolicySpec of that name")
    return spec
