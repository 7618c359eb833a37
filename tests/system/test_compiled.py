"""Compiled modules give the rows of their texts, and never stand in for a text that was edited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from testbed.bench.compile import compile_into, missing
from testbed.errors import BadInput
from testbed.files.datafiles import PACKAGE
from testbed.system.compiled import FACTS, MODULES, SUFFIX, VARIABLE, Compiled, hashes
from tests.simulation.fixed_rows import CASES, recorded

KERNEL = "testbed.simulation.kernel"


def folder_of(tmp_path: Path, **changes: Any) -> Path:
    """A folder that says it was compiled here, but for `changes`; the modules themselves are not in it."""
    facts = {"modules": [KERNEL], "sources": hashes(), "suffix": SUFFIX, **changes}
    (tmp_path / FACTS).write_text(json.dumps(facts))
    return tmp_path


def child(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, VARIABLE: str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_the_modules_are_there_and_others_are_not_looked_for(tmp_path: Path) -> None:
    assert all(find_spec(module) is not None for module in MODULES)
    finder = Compiled(folder_of(tmp_path))
    spec = finder.find_spec(KERNEL)
    assert spec is not None and spec.origin == str(tmp_path / f"{KERNEL}{SUFFIX}")
    assert finder.find_spec("testbed.simulation.world") is None
    assert Compiled(tmp_path / "nowhere").find_spec("json") is None


@pytest.mark.parametrize("edited", ["policies/wanspec/waiting.py", "system/units.py"])
def test_a_text_that_was_edited_is_named_and_nothing_runs(tmp_path: Path, edited: str) -> None:
    """Compiled or not: what is compiled may hold a constant of a text that is not."""
    folder = folder_of(tmp_path, sources={**hashes(), edited: "0" * 64})
    with pytest.raises(BadInput, match=f"was compiled from another testbed/{edited}; make it again: "):
        Compiled(folder).find_spec(KERNEL)


def test_a_text_that_is_new_or_gone_is_an_edit_too(tmp_path: Path) -> None:
    sources = hashes()
    del sources["policies/once.py"]
    with pytest.raises(BadInput, match=r"from another testbed/policies/gone\.py and 1 more"):
        Compiled(folder_of(tmp_path, sources={**sources, "policies/gone.py": "0"})).find_spec(KERNEL)


def test_another_python_and_a_folder_without_modules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"was compiled for another Python \(\.other\.so"):
        Compiled(folder_of(tmp_path, suffix=".other.so")).find_spec(KERNEL)
    with pytest.raises(BadInput, match="names no folder of compiled modules"):
        Compiled(tmp_path / "nowhere").find_spec(KERNEL)


def test_hashes_follow_every_text_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "one.py").write_text("a = 1\n")
    before = hashes(tmp_path)
    (tmp_path / "room" / "one.py").write_text("a = 2\n")
    assert list(before) == ["room/one.py"] and hashes(tmp_path) != before
    assert {f"{module.removeprefix('testbed.').replace('.', '/')}.py" for module in MODULES} <= hashes(PACKAGE).keys()


def test_a_command_with_an_old_copy_ends_in_one_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, sources={**hashes(), "policies/once.py": "0"})
    done = child("from testbed.cli.entry import main; import sys; sys.argv[1:] = ['policies', 'list']; main()", folder)
    assert done.returncode == 2
    assert done.stderr.startswith(f"testbed: {VARIABLE}={folder}: was compiled from another testbed/policies/once.py")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(missing() is not None, reason=f"cannot compile: {missing()}")
def test_compiled_modules_give_the_rows_of_their_texts(tmp_path: Path) -> None:
    compile_into(tmp_path, level=1)
    code = (
        "import json, sys; from testbed.system.compiled import MODULES; from tests.simulation.fixed_rows import *;"
        "found = {name: digests(name) for name in CASES};"
        "loaded = {one: sys.modules[one].__file__ for one in MODULES if one in sys.modules};"
        "print(json.dumps([found, [one for one, file in loaded.items() if not file.endswith('.so')], len(loaded)]))"
    )
    done = child(code, tmp_path)
    assert done.returncode == 0, done.stderr
    found, texts, loaded = json.loads(done.stdout)
    assert found == recorded() and list(found) == list(CASES)
    assert texts == [] and loaded >= len(MODULES) - 2, "these ran as text"
