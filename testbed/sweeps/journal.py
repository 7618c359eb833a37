"""The journal of a sweep: one line per finished point, so that an interrupted sweep continues.

Rule kept: a line counts only when it is whole, and one process at a time writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import msgspec

from testbed.errors import BadInput
from testbed.files.reading import decode_json
from testbed.files.whole import check_folder, writing
from testbed.sweeps.point import PointResult

NAME = "points.jsonl"


class SweepJournal:
    """Open while a sweep runs."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file, self._path = file, path
        self._encoder = msgspec.json.Encoder()

    def read(self) -> dict[str, PointResult]:
        """Finished points by run id, and the file cut back to its last whole line. Failed ones are not kept.

        A line that cannot be read costs its own point, which is done again, and no other.
        """
        self._file.seek(0)
        found: dict[str, PointResult] = {}
        whole = 0
        for line in self._file.read().split(b"\n")[:-1]:  # what follows the last one is not a whole line
            whole += len(line) + 1
            with contextlib.suppress(BadInput):
                result = decode_json(line, self._path, PointResult)
                found[result.run_id] = result
        with writing(self._path):
            self._file.truncate(whole)
        self._file.seek(whole)
        return {run_id: result for run_id, result in found.items() if result.error is None}

    def add(self, results: Iterable[PointResult]) -> None:
        """Appends; on return the lines are on the disk."""
        with writing(self._path):
            left = memoryview(b"".join(self._encoder.encode(result) + b"\n" for result in results))
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())


@contextmanager
def opened(directory: Path) -> Iterator[SweepJournal]:
    """The journal of this sweep directory, which is made if it is not there."""
    check_folder(directory)
    path = directory / NAME
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    # unbuffered: what a full disk has not taken is not tried again when the file is closed
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{directory}: another sweep is writing here; wait for it or choose another --out") from None
        yield SweepJournal(file, path)
