"""Numbers that many modules need stand in one module: units in `system.units`, the kernel's in `system.linux`."""

import ast
from collections import defaultdict
from pathlib import Path

import testbed

ROOT = Path(testbed.__file__).parent
SHARED = {"NS_PER_US", "NS_PER_MS", "NS_PER_S", "Pair"}
KERNEL = ("CLONE_", "PR_SET_", "SO_", "SOL_", "ETH_", "SIOC", "IFF_", "RTM_", "NLM_")


def constants(module: Path) -> set[str]:
    """Names that the module itself gives a value, outside of functions and classes."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def places() -> dict[str, list[str]]:
    """Where each constant is defined, of those that are meant to be defined once."""
    found: dict[str, list[str]] = defaultdict(list)
    for module in sorted(ROOT.rglob("*.py")):
        for name in constants(module):
            if name in SHARED or name.startswith(KERNEL):
                found[name].append(str(module.relative_to(ROOT)))
    return found


def test_units_and_kernel_numbers_are_defined_once() -> None:
    found = places()
    assert set(found) >= SHARED | {"CLONE_NEWNET", "PR_SET_TIMERSLACK"}  # the search sees what it is for
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
