"""Standard output and error that outlast their terminal and their reader: output that can no longer be shown is
dropped.

Rule kept: what becomes of who watches a run never changes the run or its exit status. An output that is a file and
cannot take any more is another matter: it is an error like that of any file.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def outlast_terminal() -> None:
    """For this process's own streams, from now on."""
    sys.stdout, sys.stderr = outlasting(sys.stdout), outlasting(sys.stderr, optional=True)


def outlasting(stream: TextIO, optional: bool = False) -> TextIO:
    """The same stream, going on when its terminal or its reader is gone. `optional`: whatever is wrong with it."""
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # closed by who started us, or no stream of the system's
        return stream
    stream.flush()
    raw = _Outlasting(descriptor, optional)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors if optional else _in_place_of_errors(stream.encoding),
        line_buffering=optional or raw.isatty(),
    )


def _in_place_of_errors(encoding: str) -> str:
    """What becomes of signs that a terminal cannot show: question marks; names of files that are not text stay as
    is."""
    return "surrogateescape" if encoding.lower().replace("-", "") == "utf8" else "replace"


def drop_rest(stream: TextIO) -> None:
    """Gives up what could not be written, so that it is not tried again as the program ends."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Outlasting):
        raw.optional = True


class _Outlasting(io.FileIO):
    """A descriptor whose writes into nowhere succeed."""

    def __init__(self, descriptor: int, optional: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.optional = optional
        self._terminal = stat.S_ISCHR(os.fstat(descriptor).st_mode)

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            gone = error.errno == errno.EPIPE or (error.errno == errno.EIO and self._terminal)
            if not gone and not self.optional:
                raise
            return memoryview(data).nbytes
