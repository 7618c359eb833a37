"""`python -m testbed.bench rooms`: the rooms of `testbed/` and which imports which, as they are in the files.

A room is a file or folder directly under `testbed/`; an arrow joins two rooms of which one imports the other, wherever
in a file and for whatever purpose. `FLOORS` says what may import what: a room imports only those named before it.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.files.datafiles import PACKAGE

FLOORS = (
    "errors", "files", "system", "clock", "decoding", "wire", "policies", "workload", "models", "network", "tables",
    "training", "experiment", "results", "nodes", "containers", "report", "simulation", "emulation", "sweeps",
    "reproduce", "testing", "cli", "api", "bench", "__main__", "__init__",
)  # fmt: skip


@dataclass(frozen=True)
class Rooms:
    """`arrows`: pairs of rooms, the first of which imports the second, with the places: "FILE:LINE MODULE"."""

    rooms: frozenset[str]
    arrows: Mapping[tuple[str, str], tuple[str, ...]]

    def upward(self) -> list[tuple[str, str]]:
        """Arrows from a room to one that `FLOORS` names later; a room that it does not name lies above all."""
        floor = {room: number for number, room in enumerate(FLOORS)}
        top = len(FLOORS)
        return sorted(pair for pair in self.arrows if floor.get(pair[0], top) <= floor.get(pair[1], top))

    def circles(self) -> list[tuple[str, ...]]:
        """Groups of rooms each of which reaches every other of its group."""
        reach = {room: self._reached(room) for room in self.rooms}
        found = {tuple(sorted(a for a in reach[room] if room in reach[a])) for room in self.rooms}
        return sorted(group for group in found if group)

    def _reached(self, room: str) -> set[str]:
        reached: set[str] = set()
        line = [room]
        while line:
            here = line.pop()
            after = {other for one, other in self.arrows if one == here} - reached
            reached |= after
            line += after
        return reached


def rooms(folder: Path = PACKAGE, below: str = "testbed") -> Rooms:
    """Of a folder of Python files whose modules are called `below.…`."""
    modules = {_module(path, folder, below): path for path in sorted(folder.rglob("*.py"))}
    arrows: dict[tuple[str, str], list[str]] = {}
    for module, path in modules.items():
        for target, line in _imports(path, modules):
            if not f"{target}.".startswith(f"{below}."):
                continue
            pair = _room(module, below), _room(target, below)
            if pair[0] != pair[1]:
                arrows.setdefault(pair, []).append(f"{path.relative_to(folder)}:{line} {target}")
    found = frozenset(_room(module, below) for module in modules)
    return Rooms(found, {pair: tuple(places) for pair, places in arrows.items()})


def _module(path: Path, folder: Path, below: str) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join((below, *parts)).removesuffix(".__init__")


def _room(module: str, below: str) -> str:
    return (module.removeprefix(below) or ".__init__").split(".")[1]


def _imports(path: Path, modules: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, node.lineno) for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for one in node.names:
                whole = f"{node.module}.{one.name}"
                yield (whole if whole in modules else node.module), node.lineno


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench rooms", description="rooms and arrows of testbed/")
    parser.add_argument("--inside", metavar="FOLDER", default="", help="of a folder of testbed/, such as network")
    parser.add_argument("--arrows", action="store_true", help="print every arrow")
    asked = parser.parse_args(arguments)
    folder = PACKAGE / asked.inside
    house = rooms(folder, ".".join(("testbed", *asked.inside.split("/"))).rstrip("."))
    counted = f"{len(house.rooms)} rooms, {len(house.arrows)} arrows, {len(house.circles())} circles"
    print(counted if asked.inside else f"{counted}, {len(house.upward())} arrows up")
    if asked.arrows:
        for (one, other), places in sorted(house.arrows.items()):
            print(f"{one} -> {other}: {len(places)}, first {places[0]}")
    return 0
