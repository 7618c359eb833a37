"""What an engine reports while a run goes on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What an engine tells its watcher."""

    def note(self, text: str) -> None: ...

    def phase(self, label: str, repeat: int, requests: int) -> None: ...

    def request_done(self, tokens: int) -> None: ...


class Silent:
    """A watcher that says nothing; for those who say only a part, too."""

    def note(self, text: str) -> None:
        pass

    def phase(self, label: str, repeat: int, requests: int) -> None:
        pass

    def request_done(self, tokens: int) -> None:
        pass
