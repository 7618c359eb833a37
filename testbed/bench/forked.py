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

from testbed.experiment.progress import Silent

MEMORY = Path("/dev/shm")
# an experiment that is over in no time: in virtual time, with made-up outcomes
SMALL = {
    "topology": "two-sites",
    "workload": {"prompts": "made-up", "requests": 2, "output_tokens": 12},
    "models": {"target": "made-up", "draft": "made-up"},
    "outcomes": {"iid": {"match": 0.7}},
    "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
    "place": {"user": "near", "target": "near", "drafter": "far"},
    "policies": [{"speculative": {"k": 2}}, {"wanspec": {"k": 2}}],
}


def scratch() -> str | None:
    """Where trials write: kill -9 takes nothing from a disk, and a busy one would be most of what is measured."""
    return str(MEMORY) if os.access(MEMORY, os.W_OK) else tempfile.gettempdir()


def forked(work: Callable[..., object], *arguments: object) -> ForkProcess:
    """Under way. What it raises is printed, and its exit status is 1."""
    sys.stdout.flush()
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


class Quiet(Silent):
    """The progress of a run or a sweep, discarded."""

    def total(self, points: int, finished: int) -> None:
        pass

    def advance(self, points: int) -> None:
        pass
