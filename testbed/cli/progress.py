"""Progress on a terminal: a live bar there, lines elsewhere, of a run's requests or a sweep's points.

On stderr: stdout is for results. It implements the `Progress` that engines tell and the `SweepProgress` of sweeps.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0  # of a sweep, where there is no terminal


class ConsoleBar:
    """What both have: a count of `unit`, and lines with the time since the start above it."""

    def __init__(self, unit: str, description: str, total: int | None) -> None:
        self._console = Console(stderr=True, markup=False, emoji=False)
        self._live = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task(description, total=total)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        elapsed = time.monotonic() - self._started
        self._console.print(f"[{elapsed:6.1f} s] {text}", highlight=False, markup=False, soft_wrap=True)


class ConsoleProgress(ConsoleBar):
    """Of a run. `total` is the number of requests of the whole run."""

    def __init__(self, total: int) -> None:
        super().__init__("requests", "starting", total)

    def phase(self, label: str, repeat: int, requests: int) -> None:
        self._bar.update(self._task, description=label)
        self.note(f"{label}: {requests} requests" + (f", repeat {repeat + 1}" if repeat else ""))

    def request_done(self, tokens: int) -> None:
        self._bar.advance(self._task)


class SweepConsole(ConsoleBar):
    """Of a sweep, whose number of points is known once it is planned."""

    def __init__(self) -> None:
        super().__init__("points", "sweep", None)
        self._spoken = self._started
        self._points = self._done = 0

    def total(self, points: int, finished: int) -> None:
        self._points, self._done = points, finished
        self._bar.update(self._task, total=points, completed=finished)

    def advance(self, points: int) -> None:
        self._done += points
        self._bar.advance(self._task, points)
        now = time.monotonic()
        if not self._live and now - self._spoken >= LINE_EVERY_S:
            self._spoken = now
            self.note(f"{self._done} of {self._points} points")
