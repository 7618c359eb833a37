"""Progress of a run on a terminal.

Shows on stderr: a live bar on a terminal, one line per phase elsewhere; stdout is for results."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class ConsoleProgress:
    """Implements `testbed.experiment.progress.Progress`. `total` is the number of requests of the whole run."""

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True, markup=False, emoji=False)
        self._live = sys.stderr.isatty()
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("requests"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("starting", total=total)
        self._started = time.monotonic()

    def __enter__(self) -> ConsoleProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        self._line(text)

    def phase(self, label: str, repeat: int, requests: int) -> None:
        self._bar.update(self._task, description=label)
        self._line(f"{label}: {requests} requests" + (f", repeat {repeat + 1}" if repeat else ""))

    def request_done(self, tokens: int) -> None:
        self._bar.advance(self._task)

    def _line(self, text: str) -> None:
        self._console.print(f"[{time.monotonic() - self._started:6.1f} s] {text}", highlight=False, markup=False)
