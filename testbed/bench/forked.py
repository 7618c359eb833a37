"""Processes for trials that kill them: forked from this one, which has imported everything and run nothing.

So their lives are the work alone, and dozens of them cost no imports. For trials only: this process must have one
thread.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

MEMORY = Path("/dev/shm")


def scratch() -> str | None:
    """Where trials write: kill -9 takes nothing from a disk, and a busy one would be most of what is measured."""
    return str(MEMORY) if os.access(MEMORY, os.W_OK) else tempfile.gettempdir()


def forked(work: Callable[..., object], *arguments: object) -> ForkProcess:
    """Under way. What it raises is printed, and its exit status is 1."""
    sys.stdout.flush()
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


class Quiet:
    """The progress of a run or a sweep, discarded."""

    def note(self, text: str) -> None:
        pass

    def phase(self, label: str, repeat: int, requests: int) -> None:
        pass

    def request_done(self, tokens: int) -> None:
        pass

    def total(self, points: int, finished: int) -> None:
        pass

    def advance(self, points: int) -> None:
        pass
