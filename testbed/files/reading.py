"""The only reader of users' files: whatever a library raises about one becomes BadInput, in one line.

Rules kept: nothing is read but regular files within a stated size, so a pipe, a device or a file without end is refused
before anything waits for it; the line names file, place where it is known, and fix; no decoder of YAML, JSON, msgpack,
parquet or safetensors is called on such a file outside `reading`. Put only the library's call inside it: a defect of
our own must not pass for a fault of the file. Knows nothing of what files mean, and imports no library to read them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar, overload

from testbed.errors import BadInput, TestbedError

MIB = 2**20
MAX_TEXT_BYTES = 64 * MIB  # of YAML, JSON, CSV and prompts: an hour of a fleet's series has 4 MiB
MAX_TABLE_BYTES = 2048 * MIB  # of parquet
MAX_TABLE_CELLS = 2**30  # 8 GiB as numbers
NO_LIMIT = 2**62  # weights: their own library maps them
WORDS_SHOWN = 300  # characters of a library's words

_GIT_LFS = b"version https://git-lfs"
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Name = str | os.PathLike[str]
_Type = TypeVar("_Type")


@contextmanager
def reading(path: Name, what: str = "", fix: str = "", line: int | None = None) -> Iterator[None]:
    """Inside, whatever is raised about the content of `path` becomes BadInput.

    `what` says what the file should be: `"a decode table"`. `line`: of the part that is being read, counted from 1.
    The testbed's own errors pass unchanged, and so do interrupts and exits.
    """
    try:
        yield
    except TestbedError:
        raise
    except BaseException as error:
        # a panic inside a library that is written in Rust is no Exception (pyo3)
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise refusal(path, error, what, fix, line) from error


def refusal(path: Name, error: BaseException, what: str = "", fix: str = "", line: int | None = None) -> BadInput:
    """The BadInput that says in one line what `error` means for this file."""
    place, problem = _place(error, line), _problem(error, what)
    return BadInput(f"{shown(path)}{place}: {problem}" + (f"; {fix}" if fix else ""))


def refuse_file(path: Name, problem: str, line: int | None = None) -> NoReturn:
    """BadInput about a place of this file."""
    raise BadInput(f"{shown(path)}{'' if line is None else f':{line}'}: {problem}")


def require_file(path: Name, most: int = MAX_TEXT_BYTES, missing: str = "") -> int:
    """The size of a regular file that can be read, for libraries that open it themselves. Raises BadInput.

    `missing` says what to do where nothing is there.
    """
    with _opened(path, most, missing) as descriptor, reading(path):
        _refuse_pointer(os.pread(descriptor, len(_GIT_LFS), 0), path)
        return os.fstat(descriptor).st_size


def read_bytes(path: Name, most: int = MAX_TEXT_BYTES, missing: str = "") -> bytes:
    """All of a regular file. Raises BadInput for anything else, and for more than `most` bytes."""
    with _opened(path, most, missing) as descriptor, reading(path):
        parts, held = [], 0
        while part := os.read(descriptor, min(MIB, most + 1 - held)):
            held += len(part)
            if held > most:  # files of /proc say that they are empty, and some files grow while they are read
                _refuse_size(path, held, most)
            parts.append(part)
        return b"".join(parts)


def first_bytes(path: Name, count: int) -> bytes:
    """The beginning of a regular file, however large. Raises BadInput."""
    with _opened(path, NO_LIMIT, "") as descriptor, reading(path):
        return os.pread(descriptor, count, 0)


def read_text(path: Name, most: int = MAX_TEXT_BYTES, missing: str = "") -> str:
    """A file of UTF-8 text, without a byte order mark. Raises BadInput with the line of what is not text."""
    return as_text(read_bytes(path, most, missing), path)


def as_text(raw: bytes, path: Name) -> str:
    """The bytes of a file as UTF-8 text, without a byte order mark."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        refuse_file(path, "is UTF-16 text; save it as UTF-8", 1)
    _refuse_pointer(raw, path)
    with reading(path, "UTF-8 text", "save it as UTF-8"):
        return raw.decode("utf-8-sig")


def read_others_text(path: Name, most: int = MAX_TEXT_BYTES) -> tuple[str, str | None]:
    """What another program wrote, and how it had to be read if that is not plain UTF-8: packed with gzip, UTF-16 with
    its mark, or Windows-1252, as which every other file passes."""
    import gzip
    import io

    raw, how = read_bytes(path, most), []
    if raw.startswith(b"\x1f\x8b"):
        how.append("gzip")
        with reading(path, "a gzip file"), gzip.open(io.BytesIO(raw)) as packed:
            raw = packed.read(most + 1)
        if len(raw) > most:
            _refuse_size(path, len(raw), most)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        with reading(path, "UTF-16 text", "save it as UTF-8"):
            return raw.decode("utf-16"), ", ".join([*how, "UTF-16"])
    _refuse_pointer(raw, path)
    if b"\0" in raw:
        refuse_file(path, "is not text; a file of measurements as text is expected")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        how.append("Windows-1252")
        text = raw.decode("cp1252", errors="replace")
    return text, ", ".join(how) or None


@overload
def decode_json(raw: bytes | str, path: Name, kind: type[_Type], what: str = ..., fix: str = ...,
                line: int | None = ...) -> _Type: ...  # fmt: skip
@overload
def decode_json(raw: bytes | str, path: Name, kind: None = ..., what: str = ..., fix: str = ...,
                line: int | None = ...) -> Any: ...  # fmt: skip
def decode_json(
    raw: bytes | str,
    path: Name,
    kind: type[_Type] | None = None,
    what: str = "JSON",
    fix: str = "",
    line: int | None = None,
) -> Any:
    """JSON as `kind`, or as plain data; `line` where it is one line of the file. NaN and Infinity are no JSON."""
    import msgspec

    with reading(path, what, fix, line):
        if isinstance(raw, str):
            raw = raw.encode()
        raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            return msgspec.json.decode(raw) if kind is None else msgspec.json.decode(raw, type=kind)
        except msgspec.DecodeError as error:
            at = re.search(r"\(byte ([0-9]+)\)", str(error))
            if line is None and at:
                raise refusal(path, error, what, fix, raw.count(b"\n", 0, int(at[1])) + 1) from error
            raise


def read_json(
    path: Name, what: str = "JSON", fix: str = "", missing: str = "", most: int = MAX_TEXT_BYTES
) -> dict[str, Any]:
    """A file that holds one JSON object. Raises BadInput."""
    raw = as_text(read_bytes(path, most, missing), path)
    found = decode_json(raw, path, None, what, fix)
    if not isinstance(found, dict):
        refuse_file(path, f"is not {what}: a JSON object is expected" + (f"; {fix}" if fix else ""))
    return found


def csv_rows(text: str, path: Name, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """The rows of CSV text with their lines, counted from 1; cells without blanks around them, empty lines left out."""
    import csv

    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        with reading(path, "CSV", line=line):
            try:
                cells = next(reader)
            except StopIteration:
                return rows
        if any(cell.strip() for cell in cells):
            rows.append((line, [cell.strip() for cell in cells]))


def open_table(path: Name, what: str, fix: str = "", missing: str = "") -> Any:
    """A parquet file (`pyarrow.parquet.ParquetFile`) whose footer announces no more than can be read. Read it inside
    `reading`."""
    import pyarrow.parquet as pq

    require_file(path, MAX_TABLE_BYTES, missing)
    with reading(path, what, fix):
        file = pq.ParquetFile(path)
        metadata = file.metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        if metadata.num_rows != sum(group.num_rows for group in groups) or metadata.num_rows < 0:
            raise ValueError("its footer does not give the number of rows")
        if metadata.num_rows * max(1, metadata.num_columns) > MAX_TABLE_CELLS:
            raise ValueError(f"its footer says {metadata.num_rows} rows of {metadata.num_columns} columns")
        if sum(group.total_byte_size for group in groups) > 4 * MAX_TABLE_BYTES:
            raise ValueError("its footer announces more than 8 GiB of unpacked data")
        return file


def read_table(path: Name, what: str, fix: str = "", missing: str = "") -> Any:
    """A parquet file as `pyarrow.Table`, with every value checked. Raises BadInput."""
    file = open_table(path, what, fix, missing)
    with reading(path, what, fix):
        table = file.read()
        table.validate(full=True)  # a damaged file may hold text that is none
        return table


def sha256_of(path: Name, most: int = NO_LIMIT, missing: str = "") -> str:
    """Of a regular file's content."""
    import hashlib

    digest = hashlib.sha256()
    with _opened(path, most, missing) as descriptor, reading(path):
        while part := os.read(descriptor, MIB):
            digest.update(part)
    return digest.hexdigest()


def shown(text: object) -> str:
    """A name as a message may hold it: on one line, with nothing that a terminal obeys."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), str(text))


def one_line(text: object) -> str:
    """Another program's words on one line, shortened."""
    words = shown(" ".join(str(text).split()))
    return words if len(words) <= WORDS_SHOWN else words[:WORDS_SHOWN] + "..."


@contextmanager
def _opened(path: Name, most: int, missing: str) -> Iterator[int]:
    """A descriptor of a regular file of at most `most` bytes."""
    with reading(path):
        try:
            _regular(path, Path(path).stat(), most)  # before it is opened: opening a device may do something
        except FileNotFoundError as error:
            if not missing:
                raise
            raise BadInput(f"{shown(path)}: does not exist; {missing}") from error
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _regular(path, os.fstat(descriptor), most)
        yield descriptor
    finally:
        os.close(descriptor)


def _regular(path: Name, facts: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "something else")
        refuse_file(path, f"is {kind}, not a file; choose a regular file")
    if facts.st_size > most:
        _refuse_size(path, facts.st_size, most)


def _refuse_pointer(raw: bytes, path: Name) -> None:
    if raw.startswith(_GIT_LFS):
        refuse_file(path, "is a git LFS pointer, not the file itself; fetch it with `git lfs pull`")


def _refuse_size(path: Name, size: int, most: int) -> NoReturn:
    refuse_file(path, f"has {size} bytes or more; the limit is {most}")


def _place(error: BaseException, line: int | None) -> str:
    """`:12` where the error knows its line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)  # PyYAML
    if mark is not None:
        line = mark.line + 1
    elif line is None and isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
    elif line is None:
        line = getattr(error, "lineno", None)  # json, SyntaxError
    return f":{line}" if isinstance(line, int) else ""


def _problem(error: BaseException, what: str) -> str:
    prefix = f"is not {what}: " if what else "cannot be read: "
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, MemoryError):
        return "cannot be read: out of memory"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text (byte {error.start})"
    if isinstance(error, RecursionError):
        return f"{prefix}it is nested too deeply"
    words = one_line(getattr(error, "problem", None) or error).removesuffix(".")
    return prefix + (f"{words} is missing" if isinstance(error, KeyError) else words or type(error).__name__)
