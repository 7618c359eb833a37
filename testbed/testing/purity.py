"""Whether a policy knows only what it is told: no clock, no chance, no input or output (invariant 7).

Two looks: at the imports in the policy's source, and at the calls into C that its roles make while they handle events,
which finds a clock by whatever name it was reached.
"""

from __future__ import annotations

import ast
import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

from testbed.policies import api
from testbed.policies.faults import OURS
from testbed.policies.spec import PolicySpec

# Modules that a policy's code may not import.
FORBIDDEN = frozenset(
    {"asyncio", "datetime", "multiprocessing", "os", "random", "secrets", "socket", "subprocess", "threading", "time",
     "torch", "transformers"}
)  # fmt: skip
NUMPY_RANDOM = "numpy.random"
# Modules, as C functions name theirs, whose calls tell a role what it may not know.
CLOCKS = frozenset({"time", "datetime"})
CHANCE = frozenset({"_random", "random"})
OUTSIDE = frozenset({"posix", "_posixsubprocess", "_socket", "_thread", "_io", "io"})
NOW = frozenset({"now", "utcnow", "today"})  # of datetime's classes; the others only compute
SAID = frozenset({"write", "flush"})  # a print while debugging tells a role nothing


def forbidden_imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every import of a forbidden module, and of every use of numpy's random numbers."""
    tree = ast.parse(source)
    numpy: set[str] = set()  # what it is called here; its functions are compiled so that no call of them is seen
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.Import):
            numpy |= {alias.asname or alias.name for alias in node.names if alias.name == "numpy"}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in FORBIDDEN or f"{name}.".startswith(f"{NUMPY_RANDOM}."):
                yield getattr(node, "lineno", 0), name
                break
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "random" and getattr(node.value, "id", None) in numpy:
            yield node.lineno, NUMPY_RANDOM


def impure_import(spec: PolicySpec) -> str | None:
    """The first forbidden import in the modules that the policy's roles and parameters come from, in one line."""
    for module in _modules(spec):
        try:
            source = inspect.getsource(module)
        except (OSError, TypeError):  # defined at a prompt: its calls are watched all the same
            continue
        for line, name in forbidden_imports(source):
            return f"{module.__file__}:{line}: uses {name}; time comes as `now`, chance as the models' draws"
    return None


def _modules(spec: PolicySpec) -> list[ModuleType]:
    """Those of the roles and of the parameters, and what they import of the same package."""
    names = {getattr(made, "__module__", "") for made in (*spec.roles.values(), spec.params)}
    found: dict[str, ModuleType] = {}
    waiting = [name for name in sorted(names) if name != "__main__"]
    while waiting:
        module = sys.modules.get(name := waiting.pop())
        if module is None or name in found:
            continue
        found[name] = module
        top = name.partition(".")[0]
        if top != OURS:  # the project's own modules are held to this by its tests
            used = (getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in _values(module))
            waiting += [one for one in used if isinstance(one, str) and one.partition(".")[0] == top]
    return list(found.values())


def _values(module: ModuleType) -> list[Any]:
    return [value for value in vars(module).values() if isinstance(value, ModuleType | type) or callable(value)]


class Watch:
    """Around `handle` of a role: notes the first call that a pure role would not make.

    No garbage is collected meanwhile: what others have asked to be called then, a test runner perhaps, is not the role.
    """

    def __init__(self) -> None:
        self.found: str | None = None

    def __call__(self, handle: Callable[[], list[api.Command]]) -> list[api.Command]:
        before, collects = sys.getprofile(), gc.isenabled()
        gc.disable()
        sys.setprofile(self._called)
        try:
            return handle()
        finally:
            sys.setprofile(before)
            if collects:
                gc.enable()

    def _called(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and self.found is None and (what := forbidden_call(called)) is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            self.found = f"{place}: calls {what} while it handles an event"


def forbidden_call(called: Any) -> str | None:
    """What a C function is, in words, where a role may not call it."""
    owner = getattr(called, "__self__", None)
    if isinstance(owner, ModuleType) or owner is None:
        module = getattr(called, "__module__", None) or ""
    else:
        module = (owner if isinstance(owner, type) else type(owner)).__module__
    name = f"{module}.{called.__name__}"
    if module in CLOCKS:
        return name if module == "time" or called.__name__ in NOW else None
    if module in CHANCE:
        return name
    return name if module in OUTSIDE and called.__name__ not in SAID else None
