"""`import testbed as tb`: what is offered is complete, documented, light, and typed."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import testbed as tb

ROOT = Path(__file__).parents[2]
NAMES = ["load", "simulate", "emulate", "sweep", "compare", "capacity", "Policy", "testing"]
HEAVY = ["pandas", "numpy", "torch", "transformers", "pydantic", "yaml", "pyarrow", "matplotlib", "rich", "msgspec"]
TABLES = ["requests", "rounds", "steps", "messages", "links"]
# Parameters that every function has alike, told in the first lines of the module, or by their type alone.
SHARED = {"experiment", "overrides", "seed", "progress", "out", "engine", "keep_logs", "intervals", "table", "workers"}
SELF_EVIDENT = {"run", "others", "fabric", "nodes", "window"}


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_all_is_complete_and_everything_in_it_is_there() -> None:
    assert set(NAMES) <= set(tb.__all__)
    assert list(tb.__all__) == sorted(tb.__all__, key=lambda name: (name.islower() or name.startswith("_"), name))
    tree = ast.parse(Path(tb.__file__).read_text())
    typed = {
        alias.asname or alias.name
        for block in tree.body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*typed, "__version__"} == set(tb.__all__)  # what a type checker sees is what is offered
    for name in tb.__all__:
        assert getattr(tb, name) is not None
        assert name in dir(tb)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tb.nothing


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("Policy", "testing")])
def test_every_function_says_what_it_takes_gives_and_raises(name: str) -> None:
    """Each parameter's name, the result, its units where it has some, and the errors."""
    function = getattr(tb, name)
    told = inspect.getdoc(function)
    assert told is not None and "Raises BadInput" in told and ("eturns" in told)
    for parameter in inspect.signature(function).parameters:
        assert parameter in SHARED | SELF_EVIDENT or f"`{parameter}`" in told, parameter


def test_all_else_has_a_docstring() -> None:
    for name in tb.__all__:
        if name != "__version__":
            assert inspect.getdoc(getattr(tb, name)), name
    for name, member in vars(tb.Run).items():
        if not name.startswith("_") and name not in TABLES:
            assert inspect.getdoc(member), name
    assert all(f"`{name}`" in (inspect.getdoc(tb.Run) or "") for name in TABLES)


def test_the_import_is_light() -> None:
    loaded = json.loads(run("import json, sys, testbed; print(json.dumps(sorted(sys.modules)))"))
    assert not [name for name in HEAVY if name in loaded]
    ours = [name for name in loaded if name.startswith("testbed")]
    assert ours == ["testbed"]


def test_a_policy_s_base_does_not_bring_the_engines() -> None:
    loaded = json.loads(run("import json, sys, testbed as tb; tb.Policy; print(json.dumps(sorted(sys.modules)))"))
    assert not [name for name in ("pandas", "torch", "testbed.simulation", "testbed.emulation") if name in loaded]


def test_names_outlast_imports_of_packages_inside() -> None:
    """A module of the same name would replace the function when it is imported."""
    packages = {path.parent.name if path.name == "__init__.py" else path.stem
                for path in [*(ROOT / "testbed").glob("*.py"), *(ROOT / "testbed").glob("*/__init__.py")]}  # fmt: skip
    assert not (set(tb.__all__) - {"testing"}) & packages


def test_types_are_offered_to_type_checkers() -> None:
    """PEP 561: the marker is there, and goes into a wheel."""
    assert (ROOT / "testbed" / "py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["testbed"]
