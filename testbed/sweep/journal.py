"""The journal of a sweep: one line a finished point, appended as it finishes, so that an interrupted sweep goes on.

Rule kept: a line counts only when it is whole, and one process at a time writes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from testbed.errors import BadInput
from testbed.sweep.point import PointResult

NAME = "points.jsonl"


class Journal:
    """Open while a sweep runs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoder = msgspec.json.Encoder()

    def read(self) -> dict[str, PointResult]:
        """Finished points by run id, and the file cut back to its last whole line. Failed ones are not kept."""
        self._file.seek(0)
        found: dict[str, PointResult] = {}
        whole = 0
        for line in self._file:
            try:
                result = msgspec.json.decode(line, type=PointResult)
            except msgspec.MsgspecError:
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            found[result.run_id] = result
        self._file.truncate(whole)
        self._file.seek(whole)
        return {run_id: result for run_id, result in found.items() if result.error is None}

    def add(self, results: Iterable[PointResult]) -> None:
        """Appends; on return the lines have left this process."""
        self._file.write(b"".join(self._encoder.encode(result) + b"\n" for result in results))
        self._file.flush()


@contextmanager
def opened(directory: Path) -> Iterator[Journal]:
    """The journal of this sweep directory, which is made if it is not there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BadInput(
            f"--out: {directory} cannot take a sweep ({error.strerror}); choose a folder you can write to"
        ) from error
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{directory}: another sweep is writing here; wait for it or choose another --out") from None
        yield Journal(file)
