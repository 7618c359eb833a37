"""A node's log rows survive in their file whatever becomes of the writer, and none waits in memory for long."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from testbed.emulation.rowlogs import RowLog
from testbed.errors import RunInvalid
from testbed.files.whole import DiskFull
from testbed.nodes.jobs import frame
from testbed.nodes.rowfile import CHUNK_BYTES, RowFile, read_rows
from testbed.results.records import MessageRow, RequestRow, Round, Step

STEP = Step("p", 0, "target0", "near", "target", 7, 3, "verify", 1, 2, 3, 9.5, 1.25, 0.0, 64, 3)
ROUND = Round("p", 0, "target0", 7, 0, 66, 2, 2, 1, 2, 1, 2, 3)
MESSAGE = MessageRow("p", 0, 7, "request", "user0", "target0", 1, 2, 90, 12)
REQUEST = RequestRow("p", 0, "user0", 7, "a", 12, 2, 1, 2, 3, 4, (3, 4), (1, 1), (5, 6), None, None)
ROWS: list[Any] = [STEP, ROUND, MESSAGE, REQUEST]


def test_every_kind_of_row_comes_back_as_it_was(tmp_path: Path) -> None:
    log = RowFile(tmp_path / "rows")
    for row in ROWS * 1000:
        log.add(row)
    log.close()
    assert log.rows == 4000
    assert list(RowLog(log.path, log.rows)) == ROWS * 1000


def test_rows_reach_the_file_before_the_end(tmp_path: Path) -> None:
    log = RowFile(tmp_path / "rows")
    size = len(frame(STEP))
    for _ in range(10 * CHUNK_BYTES // size):
        log.add(STEP)
    while log.path.stat().st_size < 8 * CHUNK_BYTES:  # at most two chunks are in flight; else this never ends
        os.sched_yield()
    log.close()


@pytest.mark.parametrize("lost", range(1, len(frame(REQUEST))))
def test_of_a_writer_that_died_every_whole_row_can_be_read(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"".join(map(frame, ROWS))[:-lost])
    assert list(read_rows(path)) == ROWS[:-1]
    with pytest.raises(RunInvalid, match=r"rows: holds 3 of the 4 rows"):
        list(RowLog(path, 4))


def test_what_is_no_row_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(frame(STEP) + b"\0\0\0\2\xc0\xc0")
    rows = read_rows(path)
    assert next(rows) == STEP
    with pytest.raises(RunInvalid, match=r"rows: a node wrote something that is not a log row"):
        next(rows)


def test_a_full_disk_is_named_and_nothing_is_written_after_the_gap() -> None:
    log = RowFile(Path("/dev/full"))
    with pytest.raises(DiskFull, match=r"/dev/full: no space left on device"):
        for _ in range(10_000):
            log.add(STEP)
        log.close()


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(frame(STEP))
    (tmp_path / "rows").symlink_to(tmp_path / "secret")
    with pytest.raises(RunInvalid, match="rows: the node's output is a link"):
        list(read_rows(tmp_path / "rows"))
