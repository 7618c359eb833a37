"""Keeps the machine busy while a trial runs: one endless loop a core, or the exact tests again and again.

`python -m testbed.bench.beside loop` is one such loop. Rule kept: nothing of it is left when the block ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.system.processes import ending_with_this

NOTHING, LOOPS, TESTS = KINDS = ("nothing", "loops", "tests")
EXACT = (
    "-m",
    "pytest",
    "-q",
    "-n",
    "auto",
    "--dist",
    "worksteal",
    "-m",
    "not shaped and not docker",
)  # make test-exact


@contextmanager
def beside(kind: str, repository: Path, cores: int | None = None) -> Iterator[list[int]]:
    """Gives the ids of the programs that were started; they have the priority of this one."""
    programs = [
        subprocess.Popen(
            command,
            cwd=repository,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in _commands(kind, len(os.sched_getaffinity(0)) if cores is None else cores)
    ]
    try:
        yield [program.pid for program in programs]
    finally:
        for program in programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def _commands(kind: str, cores: int) -> list[list[str]]:
    if kind == LOOPS:
        return [ending_with_this("testbed.bench.beside", "loop")] * cores
    if kind == TESTS:
        return [ending_with_this("testbed.bench.beside", "tests")]
    return []


def main(kind: str) -> None:
    while True:
        if kind == "tests":
            subprocess.run([sys.executable, *EXACT], check=False)


if __name__ == "__main__":
    main(sys.argv[1])
