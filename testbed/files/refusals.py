"""Several mistakes of one file, told together: the first is the error's text, the others are its notes.

Rule kept: whoever corrects a file sees all that is wrong with it at once, but no more than fits on a screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from testbed.errors import BadInput
from testbed.files.reading import Name, shown

MOST_MISTAKES = 20  # of one file, each on its own line; of further ones only the number


def refusal_of(path: Name, told: Sequence[str], more: int = 0) -> BadInput:
    """These lines about a file, at least one, as one error; `more` mistakes are not among them."""
    more += len(told[MOST_MISTAKES:])
    refusal = BadInput(told[0])
    for line in told[1:MOST_MISTAKES]:
        refusal.add_note(line)
    if more:
        refusal.add_note(f"{shown(path)}: {more} more mistakes; fix these first")
    return refusal


def lines_of(error: BaseException) -> list[str]:
    """An error's text and its notes."""
    return [str(error), *getattr(error, "__notes__", ())]


class Refusals:
    """Goes on after a mistake: of parts of a file that are read one by one.

    `with refusals.one():` around each part, `settle()` at the end.
    """

    def __init__(self, path: Name) -> None:
        self._path = path
        self._told: dict[str, None] = {}
        self._more = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Keeps the BadInput that is raised inside; everything else passes."""
        try:
            yield
        except BadInput as error:
            for line in lines_of(error):
                if len(self._told) < MOST_MISTAKES:
                    self._told[line] = None
                elif line not in self._told:
                    self._more += 1

    def settle(self) -> None:
        """Raises what was kept, if anything was."""
        if self._told:
            raise refusal_of(self._path, list(self._told), self._more)

    def __len__(self) -> int:
        """How many there are so far."""
        return len(self._told) + self._more
