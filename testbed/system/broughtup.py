"""What is brought up part by part and taken down whole, such as a run's network and its nodes.

Rule kept: what is told of a failure is its cause, which is looked for before anything is taken down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class BroughtUp(ABC):
    """A context manager. A part that cannot be made takes the others down as well."""

    def __enter__(self) -> Self:
        try:
            self._bring_up()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(value)

    def _end(self, error: BaseException | None) -> None:
        try:
            self._raise_cause(error)
        finally:
            self.close()

    @abstractmethod
    def _bring_up(self) -> None: ...

    @abstractmethod
    def _raise_cause(self, error: BaseException | None) -> None:
        """Raises what `error` is a consequence of, if anything: all is still as it was. None: there was none."""

    @abstractmethod
    def close(self) -> None:
        """Takes everything down. Safe at any moment, more than once."""
