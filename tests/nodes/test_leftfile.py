"""What a node left is read as a plain file of bounded size, and nothing else blocks the engine or shows it a file."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import RunInvalid
from testbed.nodes.leftfile import open_left
from testbed.nodes.rowfile import read_rows
from testbed.wire.framing import framed


def link(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_bytes(b"of the engine's machine")
    path.symlink_to(secret)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # and no block of it on the disk


PLANTED: dict[str, Any] = {
    "a link": (link, "is a link"),
    "a dangling link": (lambda path: path.symlink_to("/nowhere"), "is a link"),
    "a pipe": (os.mkfifo, "not a regular file"),
    "a folder": (Path.mkdir, "not a regular file"),
    "a socket": (listening, "is a socket"),
    "nothing": (lambda path: None, "is missing"),
    "an endless file": (huge, "bytes; "),
}
if os.geteuid() == 0:
    PLANTED["a device"] = (lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)), "not a regular file")  # /dev/zero
    PLANTED["a link to a device"] = (lambda path: path.symlink_to("/dev/zero"), "is a link")


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, what):
    plant, said = PLANTED[what]
    path = tmp_path / "a.rows"
    plant(path)
    started = time.monotonic()
    with pytest.raises(RunInvalid, match=said):
        list(read_rows(path))
    assert time.monotonic() - started < 2.0


def test_a_plain_file_is_read_whole(tmp_path):
    (tmp_path / "b").write_bytes(bytes(100))
    with open_left(tmp_path / "b", 100) as file:
        assert file.read() == bytes(100)
    with pytest.raises(RunInvalid, match="100 bytes; at most 99"):
        open_left(tmp_path / "b", 99)


def test_a_file_that_is_no_log_is_refused_by_name(tmp_path):
    for body in (b"\xff\xfe", b"\x91\xa2\xff\xfe"):
        (tmp_path / "a.rows").write_bytes(framed(body))
        with pytest.raises(RunInvalid, match=r"a\.rows"):
            list(read_rows(tmp_path / "a.rows"))
