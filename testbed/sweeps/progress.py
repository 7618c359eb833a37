"""What a sweep tells its watcher, on stderr: a live bar of points on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0  # where there is no terminal


class SweepProgress(Protocol):
    def note(self, text: str) -> None: ...

    def total(self, points: int, finished: int) -> None: ...

    def advance(self, points: int) -> None: ...


class SweepConsole:
    """Implements `SweepProgress`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, markup=False, emoji=False)
        self._live = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("points"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=self._console, disable=not self._live,
        )  # fmt: skip
        self._task = self._bar.add_task("sweep", total=None)
        self._started = self._spoken = time.monotonic()
        self._points = self._done = 0

    def __enter__(self) -> SweepConsole:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        elapsed = time.monotonic() - self._started
        self._console.print(f"[{elapsed:6.1f} s] {text}", highlight=False, markup=False, soft_wrap=True)

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
