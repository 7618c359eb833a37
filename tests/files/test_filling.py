"""What a model refuses about a file's content is one line, wherever the model is made: looked up in the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

import testbed
from testbed.errors import BadInput
from testbed.files.strict import Strict
from testbed.files.yamlfile import filling

ROOT = Path(testbed.__file__).parent
MADE = {"model_validate", "model_validate_json", "validate_python"}
# Who makes models elsewhere, and why what these refuse is no traceback.
DEFAULTS = "of constants of ours, or of figures that this program measured or checked"
OURS = "of what our own processes say, or a run directory holds: `results.store.using` says that it is damaged"
INSIDE = "called by who has `filling` around it"
ANSWERED = "its refusals are a validator's, an option's or a policy's, and told as such there"
WITHIN = "bounds of what is given lie within those of what is made; a test holds that"
ELSEWHERE = {
    "experiment/scenario.py": DEFAULTS, "models/devices.py": DEFAULTS, "models/nativeprofile.py": DEFAULTS,
    "tables/outcomes.py": DEFAULTS, "network/spec/topology.py": DEFAULTS, "simulation/probing.py": DEFAULTS,
    "sweeps/emulated.py": DEFAULTS, "workload/load/servegen.py": INSIDE, "workload/load/fit.py": INSIDE,
    "results/unmet.py": OURS, "results/metrics/accounts.py": OURS, "simulation/inputs.py": OURS,
    "simulation/world.py": OURS, "nodes/program.py": OURS, "workload/background.py": OURS,
    "experiment/background.py": WITHIN,
    "experiment/policyentry.py": ANSWERED, "experiment/load.py": ANSWERED, "policies/spec.py": ANSWERED,
    "policies/routing/options.py": ANSWERED, "policies/placement/options.py": ANSWERED, "sweeps/plan.py": ANSWERED,
    "cli/record.py": ANSWERED,
}  # fmt: skip


def models_of(tree: ast.AST, module: str) -> set[str]:
    """Names that are models there: its own, and what it imports, also inside a function."""
    found = {name for name, value in vars(import_module(module)).items() if _is_model(value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("testbed"):
            there = vars(import_module(node.module))
            found |= {one.asname or one.name for one in node.names if _is_model(there.get(one.name))}
    return found


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def made(node: ast.AST, models: set[str], inside: bool = False) -> Iterator[tuple[int, str]]:
    """Line and words of what makes a model without `filling` around it."""
    if isinstance(node, ast.With):
        inside = inside or any(ast.unparse(item.context_expr).startswith("filling(") for item in node.items)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in models and not inside:
        yield node.lineno, node.func.id
    if isinstance(node, ast.Attribute) and node.attr in MADE and not inside:
        yield node.lineno, ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from made(child, models, inside)


@pytest.mark.slow
def test_no_model_is_made_of_a_file_but_by_filling() -> None:
    """A new reader puts `filling` around it, or says here why it need not."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("bench/") or path.name == "__main__.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = ".".join(("testbed", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        if here := list(made(tree, models_of(tree, module))):
            found[name] = here
    assert {name: here for name, here in found.items() if name not in ELSEWHERE} == {}
    assert set(ELSEWHERE) - set(found) == set(), "entries that nothing needs any more"


def test_the_search_finds_what_it_looks_for() -> None:
    text = "Rate(1)\nwith filling(path, Rate):\n    Rate(2)\nx.model_validate(y)\ndef f():\n    Event()\nRates(3)\n"
    assert list(made(ast.parse(text), {"Rate", "Event"})) == [(1, "Rate"), (4, "x.model_validate"), (6, "Event")]


class Room(Strict):
    """Of the test below."""

    seats: int = Field(ge=0)
    rows: tuple[int, ...] = ()


def test_what_a_model_refuses_names_file_line_and_every_mistake() -> None:
    with pytest.raises(BadInput) as caught, filling("plan.csv", Room, {("seats",): 3, ("rows", 1): 7}):
        Room(seats=-1, rows=(1, "x"))  # type: ignore[arg-type]
    assert str(caught.value) == "plan.csv:3: seats: should be greater than or equal to 0 (it is -1)"
    assert caught.value.__notes__ == ["plan.csv:7: rows.1: should be a valid integer (it is 'x')"]
    with pytest.raises(BadInput) as caught, filling("a\nfolder", Room):
        Room.model_validate({"seat": 1})
    assert str(caught.value) == "a\\nfolder: key 'seat' is unknown; did you mean 'seats'?"
    with pytest.raises(KeyError), filling("plan.csv", Room):
        raise KeyError  # a defect of ours is no fault of the file
