"""A class is known by its name: no module renames one that it imports, and in one room a name stands for one class.

Rooms are packages; policies have a folder each, and each module of `testbed/bench` is a program by itself.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "testbed"


def parsed() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def renamed(tree: ast.Module) -> Iterator[str]:
    """Capitalised names, constants excepted, that are imported under another name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for one in node.names:
                if one.asname not in (None, one.name) and one.name[:1].isupper() and not one.name.isupper():
                    yield f"{one.name} as {one.asname}"


def room(path: Path) -> tuple[str, ...]:
    if path.parts[0] == "bench":
        return path.parts
    return path.parts[:-1] if path.parts[0] == "policies" else path.parts[:1]


def test_no_class_is_imported_under_another_name() -> None:
    meant = {("models/facts.py", "Tokenizer as Backend"), ("__init__.py", "PolicySpec as Policy")}  # theirs; a door's
    found = {(path.as_posix(), one) for path, tree in parsed() for one in renamed(tree)}
    assert found == meant


def test_in_one_room_a_name_stands_for_one_class() -> None:
    found: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for path, tree in parsed():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[room(path), node.name].append(path.as_posix())
    twice = {name: paths for (_, name), paths in found.items() if len(paths) > 1}
    roles = {"Target"}  # policies that are one file each
    assert {name: paths for name, paths in twice.items() if name not in roles} == {}


def test_a_renamed_class_is_seen() -> None:
    assert list(renamed(ast.parse("from a import Link as SpecifiedLink, KEY as OTHER, Port, Pair as Pair"))) == [
        "Link as SpecifiedLink"
    ]
