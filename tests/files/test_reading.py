"""The door for files: any failure of any library about one is BadInput, in one line with file, place and fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.errors import BadInput, RunInvalid
from testbed.files import reading


def line_of(error: pytest.ExceptionInfo[BadInput]) -> str:
    text = str(error.value)
    assert "\n" not in text and text == text.strip()
    return text


class PanicException(BaseException):
    """As pyo3 raises it where a library written in Rust panics."""


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), OSError("no number"), UnicodeDecodeError("utf-8", b"a\n\xff", 2, 3, "bad"),
     ValueError("a\nb"), KeyError("k"), IndexError("x"), AttributeError("x"), TypeError("x"), RecursionError(),
     OverflowError("big"), MemoryError(), Exception("data did not match any variant"), PanicException("index out")],
)  # fmt: skip
def test_whatever_a_library_raises_is_one_line_with_the_file(error: BaseException) -> None:
    with pytest.raises(BadInput) as caught, reading.reading("some/file.x", "a table", "record it again"):
        raise error
    assert line_of(caught).startswith("some/file.x:")
    assert line_of(caught).endswith("; record it again")


def test_errors_of_our_own_interrupts_and_exits_pass() -> None:
    for error in (RunInvalid("x"), BadInput("y"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught, reading.reading("file"):
            raise error
        assert caught.value is error


def test_the_line_is_named_where_it_is_known(tmp_path: Path) -> None:
    text = tmp_path / "bad.txt"
    text.write_bytes(b"one\ntwo\nth\xffree\n")
    with pytest.raises(BadInput, match=r"bad\.txt:3: is not UTF-8 text"):
        reading.read_text(text)
    with pytest.raises(BadInput, match=r"file:7: is not a prompt: "):
        reading.decode_json(b"[1,", "file", None, "a prompt", line=7)


@pytest.mark.parametrize(
    "raw", [b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\xff"}', b"[" * 9999, b"", b"{} {}", b"1" * 5000]
)
def test_json_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        reading.decode_json(raw, "f.json")
    assert line_of(caught).startswith("f.json")


def test_only_regular_files_of_some_size_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cases: list[tuple[str | Path, str]] = [
        ("/dev/zero", "is a device"),
        (fifo, "is a pipe"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "No such file"),
        ("/proc/self/mem", "cannot be read"),
        (tmp_path / ("n" * 300), "too long"),
        ("a\0b", "null"),
    ]
    for path, word in cases:
        with pytest.raises(BadInput, match=word) as caught:
            reading.read_bytes(path, most=10 * reading.MIB)
        line_of(caught)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadInput, match=r"the limit is \d+"):
        reading.read_bytes(big)
    with pytest.raises(BadInput, match="the limit is 100"):  # it says that it is empty
        reading.read_bytes("/proc/kallsyms", most=100)


def test_a_git_lfs_pointer_is_called_one(tmp_path: Path) -> None:
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for read in (reading.require_file, reading.read_text):
        with pytest.raises(BadInput, match="git lfs pull"):
            read(pointer)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    marked = tmp_path / "bom.txt"
    marked.write_bytes(b"\xef\xbb\xbfname: a\n")
    assert reading.read_text(marked) == "name: a\n"
    marked.write_text("name: a\n", encoding="utf-16")
    with pytest.raises(BadInput, match="UTF-16 text; save it as UTF-8"):
        reading.read_text(marked)


def test_a_name_in_a_message_cannot_move_the_terminal() -> None:
    assert reading.shown("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert reading.shown("Köln 東京") == "Köln 東京"
