"""What a sweep tells its watcher."""

from __future__ import annotations

from typing import Protocol


class SweepProgress(Protocol):
    def note(self, text: str) -> None: ...

    def total(self, points: int, finished: int) -> None: ...

    def advance(self, points: int) -> None: ...
