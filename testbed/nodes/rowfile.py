"""Log rows in a file as they come: so that a node's memory does not grow with the requests it has served.

A file is a chain of frames (`testbed.wire.framing`), one row each, tagged with its kind. A writer that died leaves
at most one unfinished frame, at the end, which is not a row.
Rule kept: the thread that adds a row never waits for the disk; it encodes the row, and another thread writes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from testbed.errors import RunInvalid
from testbed.files.whole import unwritable
from testbed.nodes.jobs import frame
from testbed.nodes.leftfile import open_left
from testbed.results.records import MessageRow, ProbeRow, RequestRow, Round, Step
from testbed.wire.framing import Frames

Row = Step | Round | MessageRow | RequestRow | ProbeRow

CHUNK_BYTES = 32 * 1024  # rows that wait in memory
READ_BYTES = 1 << 20


class RowFile:
    """Appends rows to `path`. The count of rows is what a reader should find."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._chunks: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._error: OSError | None = None
        self._file = path.open("wb", buffering=0)
        self._writer = threading.Thread(target=self._write, name=f"rows to {path.name}", daemon=True)
        self._writer.start()

    def adder(self, record: type[Row]) -> Callable[[Any], None]:
        """As of every log: rows of all kinds go to one file, and each says its kind."""
        return self.add

    def add(self, row: Row) -> None:
        """Raises what `unwritable` makes of it when an earlier row could not be written."""
        encoded = frame(row)
        self._waiting.append(encoded)  # not joined here: what one thread allots and another frees scatters the heap
        self._waiting_bytes += len(encoded)
        self.rows += 1
        if self._waiting_bytes >= CHUNK_BYTES:
            self._hand_on()

    def close(self) -> None:
        """Returns when every row is in the file; a second call does nothing."""
        if self._file.closed:
            return
        self._chunks.put(self._waiting)
        self._chunks.put(None)
        self._writer.join()
        self._file.close()
        self._check()

    def _hand_on(self) -> None:
        self._check()
        self._chunks.put(self._waiting)
        self._waiting, self._waiting_bytes = [], 0

    def _check(self) -> None:
        if self._error is not None:
            raise unwritable(self.path, self._error) from self._error

    def _write(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            if self._error is not None:
                continue  # what follows a gap would be read as something else
            view = memoryview(b"".join(chunk))
            try:
                while view:
                    view = view[os.write(self._file.fileno(), view) :]
            except OSError as error:
                self._error = error


def read_rows(path: Path) -> Iterator[Row]:
    """Every whole row of a file, one by one; raises RunInvalid where a frame is not a row."""
    decode = msgspec.msgpack.Decoder(Row).decode
    frames = Frames()
    with open_left(path) as file:
        while data := file.read(READ_BYTES):
            for body in frames.feed(data):
                try:
                    row = decode(body)
                except (msgspec.MsgspecError, ValueError) as error:  # ValueError: text not in UTF-8
                    raise RunInvalid(f"{path}: a node wrote something that is not a log row ({error})") from None
                yield row
