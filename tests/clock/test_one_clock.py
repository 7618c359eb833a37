"""What takes part in a run asks the run's clock, and no other: a second one would go on while the first is held."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.files.datafiles import PACKAGE

OTHERS = {
    *(("time", name) for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "clock_gettime_ns")),
    ("time", "sleep"),
    ("asyncio", "sleep"),
    ("threading", "Timer"),
}
PLACES = ("nodes", "wire", "network/relay", "network/live", "network/measure/watch_process.py",
          "network/measure/probe_process.py", "emulation/conditions.py", "emulation/phases.py")  # fmt: skip
# By file, the functions that may: they guard the machinery, or turn the machine's time into the run's.
MAY = {
    "nodes/health.py": {""},  # looks at a file's age, in a process of its own
    "nodes/program.py": {"_tidy", "_measure_peers", "_ping_forever", "_beat_forever"},  # beats are for the engine
    "nodes/workerclient.py": {"_await_due"},  # sleeps by what the clock says is left
    "wire/connection.py": {"connection_made"},  # how long a stranger may take
    "wire/tcp.py": {"__init__", "connect", "_resume"},  # which of two programs it is; dialling
    "wire/memory.py": {"send", "_deliver"},  # tests' own transport
    "network/measure/probe_process.py": {"of"},  # the kernel stamps packets with the machine's
    "emulation/conditions.py": {"_await", "__init__"},  # sleeps by what the clock says is left
}


def uses(source: str) -> Iterator[tuple[str, str]]:
    """Function and what it calls or hands on, of a module's text."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if (owner, node.attr) in OTHERS or node.attr in ("call_later", "call_at"):
                yield function, node.attr
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    yield from visit(ast.parse(source), "")


def files() -> list[Path]:
    found = [PACKAGE / place for place in PLACES]
    return sorted(path for one in found for path in ([one] if one.is_file() else one.glob("*.py")))


def test_no_other_clock() -> None:
    wrong = [
        f"{name}: {function} uses {what}"
        for path in files()
        for name in (str(path.relative_to(PACKAGE)),)
        for function, what in uses(path.read_text())
        if function not in MAY.get(name, set())
    ]
    assert wrong == []


def test_the_exceptions_are_needed() -> None:
    used = {(str(path.relative_to(PACKAGE)), function) for path in files() for function, _ in uses(path.read_text())}
    assert {(name, function) for name, functions in MAY.items() for function in functions} <= used


@pytest.mark.parametrize(
    "text", ["import time\ndef f():\n    return time.monotonic_ns()\n", "def f(loop):\n    loop.call_later(1, f)\n"]
)
def test_another_clock_is_found(text: str) -> None:
    assert [function for function, _ in uses(text)] == ["f"]
