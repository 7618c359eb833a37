"""Progress for Python callers: one display that is updated in a notebook, lines on stderr elsewhere, or nothing.

Implements both `testbed.experiment.progress.Progress` and what the command line's child says in lines.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbed.experiment.progress import Progress, Silent

UPDATE_S = 0.2  # between two updates of a notebook's display


class Notebook(Silent):
    """One output of a notebook's cell: the latest line, and how many of `total` requests are done (0: not counted)."""

    def __init__(self, total: int = 0) -> None:
        from IPython.display import display

        self._total = total
        self._done = 0
        self._line = "starting"
        self._shown = 0.0
        self._handle: Any = display(self, display_id=True)

    def _repr_html_(self) -> str:
        bar = f"<progress value={self._done} max={self._total}></progress> " if self._total else ""
        return f"{bar}<code>{html.escape(self._line)}</code>"

    def __repr__(self) -> str:
        counted = f" ({self._done} of {self._total} requests)" if self._total else ""
        return f"{self._line}{counted}"

    def note(self, text: str) -> None:
        self._line = text
        self.update()

    def phase(self, label: str, repeat: int, requests: int) -> None:
        self.note(f"{label}: {requests} requests" + (f", repeat {repeat + 1}" if repeat else ""))

    def request_done(self, tokens: int) -> None:
        self._done += 1
        if time.monotonic() - self._shown >= UPDATE_S:
            self.update()

    def update(self) -> None:
        self._shown = time.monotonic()
        self._handle.update(self)


class Lines(Silent):
    """Lines that another process has already written as a terminal would have them."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def in_notebook() -> bool:
    """Whether this program is a kernel that can show and update outputs."""
    interactive = sys.modules.get("IPython")
    shell = None if interactive is None else interactive.get_ipython()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def watching(progress: bool, total: int | None = None) -> Iterator[Progress]:
    """A watcher. `total`: requests of a run in this process; None: another process says in lines how far it is."""
    if not progress:
        yield Silent()
    elif in_notebook():
        shown = Notebook(total or 0)
        yield shown
        shown.update()
    elif total is None:
        yield Lines()
    else:
        from testbed.cli.progress import ConsoleProgress

        with ConsoleProgress(total) as console:
            yield console
