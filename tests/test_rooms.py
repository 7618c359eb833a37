"""The rooms of `testbed/`: who may import whom, and that each has a sign on its door."""

from __future__ import annotations

import ast
from pathlib import Path

from testbed.bench.rooms import FLOORS, rooms
from testbed.files.datafiles import PACKAGE

MOST_ROOMS = 28


def test_no_room_imports_one_above_it() -> None:
    house = rooms()
    assert house.rooms - set(FLOORS) == set(), "a new room: give it its place in FLOORS"
    assert {pair: house.arrows[pair] for pair in house.upward()} == {}
    assert house.circles() == []
    assert len(house.rooms) <= MOST_ROOMS


def test_an_arrow_up_and_a_circle_are_seen(tmp_path: Path) -> None:
    texts = {"errors.py": "from testbed.wire import x\n", "wire.py": "def f():\n    import testbed.errors\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    house = rooms(tmp_path)
    assert house.upward() == [("errors", "wire")]
    assert house.circles() == [("errors", "wire")]


def test_the_folders_of_the_network_form_no_circle() -> None:
    assert rooms(PACKAGE / "network", "testbed.network").circles() == []


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("__init__.py"))
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_no_two_test_files_have_one_name() -> None:
    """Folders of tests are no packages, so pytest cannot collect two files of one name together."""
    paths = [path for path in Path(__file__).parent.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    names = [path.name for path in paths]
    assert len(names) > 100
    assert sorted(path for path in paths if names.count(path.name) > 1) == []
