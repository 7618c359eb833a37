"""The modules that a simulation spends its time in, as machine code: the same texts, compiled by mypyc. Off by default.

`python -m testbed.bench compile FOLDER` makes them, and where TESTBED_COMPILED names that folder they are imported in
place of their texts. Rule kept: a compiled copy never stands in for another text. It lies apart from the package, with
the hash of every file of the package it was made of, and where one of them has changed the import is refused, by name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

import msgspec

from testbed.errors import BadInput
from testbed.files.datafiles import PACKAGE
from testbed.files.reading import decode_json, read_bytes, sha256_of

VARIABLE = "TESTBED_COMPILED"
FACTS = "compiled.json"  # in the folder
AGAIN = "make it again: python -m testbed.bench compile FOLDER"
SUFFIX = EXTENSION_SUFFIXES[0]  # of this Python alone

# By room; no module with a model of pydantic's, whose fields mypyc does not know. What one of them derives from is here
# too, since an interpreted class can derive from a compiled one only where that one allows for it, at a cost.
ROOMS = {
    "decoding": "cacheview output",
    "models": "cut",
    "nodes": "recorder virtualdevice",
    "policies": "admission estimates faults jobqueue once passqueue session user",
    "policies.edge": "draft_state edge sequence",
    "policies.sled": "draft_state drafter server",
    "policies.wanspec": "candidates controller credit drafting hedge outlook presence switch tree waiting worker",
    "policies.wisp": "client draft_state drafter estimator features scheduler server stops",
    "simulation": "anydrafter host kernel ways",
    "simulation.tcp": "alarms estimate even flight losses path receiver recovery segments stream window",
    "tables": "replay",
}
MODULES = tuple(f"testbed.{room}.{name}" for room, names in ROOMS.items() for name in names.split())


def hashes(package: Path = PACKAGE) -> dict[str, str]:
    """Of every text of the package, by its path in it: what is compiled sees what the others say of themselves."""
    return {path.relative_to(package).as_posix(): sha256_of(path) for path in sorted(package.rglob("*.py"))}


class Facts(msgspec.Struct):
    """What the folder says of itself."""

    modules: tuple[str, ...]
    sources: dict[str, str]  # hash of each file of the package that it was made of
    suffix: str  # of extensions of the Python that it was made for


def use(folder: Path) -> None:
    """From now on the compiled modules of this folder are imported, if they are of these texts."""
    sys.meta_path.insert(0, Compiled(folder))


def in_use() -> bool:
    return any(isinstance(finder, Compiled) for finder in sys.meta_path)


class Compiled(MetaPathFinder):
    """Looked into when the first of its modules is imported, so that a refusal reaches the user as any other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        shared = fullname.endswith("__mypyc") and "_files" in vars(self)  # their common code, which they ask for
        if fullname not in MODULES and not shared:
            return None
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        """Module to file. BadInput where it is not a copy of the texts that are there now."""
        path = self._folder / FACTS
        missing = f"{VARIABLE} names no folder of compiled modules; {AGAIN}"
        facts = decode_json(read_bytes(path, missing=missing), path, Facts, "what compiled modules are of", AGAIN)
        now, then = hashes(), facts.sources
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise self._refused(f"was compiled from another testbed/{changed[0]}{more}")
        if facts.suffix != SUFFIX:
            raise self._refused(f"was compiled for another Python ({facts.suffix}; this one: {SUFFIX})")
        return {module: self._folder / f"{module}{SUFFIX}" for module in facts.modules}

    def _refused(self, what: str) -> BadInput:
        return BadInput(f"{VARIABLE}={self._folder}: {what}; {AGAIN}, or unset {VARIABLE}")
