"""The run directory on disk: five parquet tables, `manifest.json`, `summary.json`.

Rule: the schema comes from the record structs alone, so an empty table keeps its columns and the same rows give the
same bytes (invariant 3). Every file appears whole or not at all.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.errors import BadInput, TestbedError
from testbed.files.reading import read_json, read_table, read_text, reading, refusal, refuse_file, sha256_of, shown
from testbed.files.whole import replacing
from testbed.results.records import LinkRow, MessageRow, ProbeRow, ReplayRow, RequestRow, Round, Step
from testbed.results.rundir import SUFFIX

RECORDS: Mapping[str, type[msgspec.Struct]] = types.MappingProxyType(
    {"requests": RequestRow, "rounds": Round, "steps": Step, "messages": MessageRow, "links": LinkRow}
)
# Of runs whose links were watched or changed while they ran; a run directory without them has none such.
LIVE_RECORDS: Mapping[str, type[msgspec.Struct]] = types.MappingProxyType({"replay": ReplayRow, "probes": ProbeRow})
PART_ROWS = 50_000  # of a table that is written as its rows come: some 20 MB as structs
_ARROW: Mapping[Any, Any] = types.MappingProxyType(
    {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
)


WHAT = "a table of a run"
AGAIN = "run the experiment again"
# What files were when the run ended, in the format of sha256sum(1); `sha256sum -c SHA256SUMS` checks them too.
SUMS, LAST = "SHA256SUMS", "summary.json"
# Every run directory has these; `report.html` comes with them where a run stands alone.
FILES = (*(f"{kind}.parquet" for kind in RECORDS), "manifest.json", "summary.json")


@dataclass(frozen=True)
class RunData:
    """One run as its log tells it: the manifest and one DataFrame a record kind."""

    manifest: dict[str, Any]
    requests: pd.DataFrame
    rounds: pd.DataFrame
    steps: pd.DataFrame
    messages: pd.DataFrame
    links: pd.DataFrame
    replay: pd.DataFrame = field(default_factory=lambda: frame_of("replay", []))
    probes: pd.DataFrame = field(default_factory=lambda: frame_of("probes", []))


def schema_of(record: type[msgspec.Struct]) -> pa.Schema:
    """The arrow schema of a record struct: columns in field order, nullable only where the struct allows None."""
    hints = typing.get_type_hints(record)
    return pa.schema([_field(name, hints[name]) for name in record.__struct_fields__])


def frame_of(kind: str, rows: Sequence[msgspec.Struct]) -> pd.DataFrame:
    """Rows as the DataFrame that `load` would give for them."""
    frame: pd.DataFrame = _table(kind, rows).to_pandas()
    return frame


class RunDirectory:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_rows(self, kind: str, rows: Sequence[msgspec.Struct]) -> None:
        """Writes `<kind>.parquet`; `kind` is one of RECORDS or LIVE_RECORDS and every row is of its struct."""
        table = _table(kind, rows)
        self._replace(f"{kind}.parquet", lambda partial: pq.write_table(table, partial, compression="zstd"))

    def write_tables(self, kinds: Sequence[str], rows: Iterable[msgspec.Struct]) -> None:
        """Writes a table of each kind from rows of all of them as they come, holding no more than a part in memory."""
        with ExitStack() as stack:
            tables = {kind: stack.enter_context(self._table_of(kind)) for kind in kinds}
            by_record = {_record(kind): tables[kind] for kind in kinds}
            for row in rows:
                by_record[type(row)].add(row)

    @contextmanager
    def _table_of(self, kind: str) -> Iterator[_GrowingTable]:
        """The file is there after an orderly end only."""
        with (
            replacing(self.path / f"{kind}.parquet") as partial,
            pq.ParquetWriter(partial, schema_of(_record(kind)), compression="zstd") as file,
        ):
            table = _GrowingTable(kind, file)
            yield table
            table.flush()

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        self._write_json("manifest.json", manifest)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        self._write_json("summary.json", summary)

    def write_text(self, name: str, text: str) -> Path:
        """Writes one text file whole, for the report and exporters; returns where it is."""
        self._replace(name, lambda partial: partial.write_text(text, encoding="utf-8"))
        return self.path / name

    def read_manifest(self) -> dict[str, Any]:
        return self._read_json("manifest.json")

    def read_summary(self) -> dict[str, Any]:
        return self._read_json("summary.json")

    def read_rows(self, kind: str) -> pd.DataFrame:
        file = self._intact(f"{kind}.parquet")
        table = read_table(file, WHAT, AGAIN)
        with reading(file, WHAT, AGAIN):
            frame: pd.DataFrame = _as_recorded(table, schema_of(_record(kind))).to_pandas()
        return frame

    @property
    def sealed(self) -> bool:
        """Whether sums say of every file of a run what it was when it was written."""
        return {*FILES} <= self._sums().keys()

    def _intact(self, name: str) -> Path:
        """The file's path. BadInput where it is not there, or not as it was written."""
        file = self.path / name
        found = sha256_of(file, missing=f"is {shown(self.path)} a finished run directory?")
        if self._sums().get(name, found) != found:
            raise BadInput(
                f"{shown(file)}: is damaged or was changed: it does not match {SUMS}; restore it, {AGAIN}, or remove "
                f"{SUMS} to read it anyway"
            )
        return file

    def _sums(self) -> dict[str, str]:
        if not (self.path / SUMS).exists():
            return {}
        sums: dict[str, str] = {}
        for number, line in enumerate(read_text(self.path / SUMS).splitlines(), start=1):
            digest, _, name = line.partition("  ")
            if not re.fullmatch("[0-9a-f]{64}", digest) or not name:
                refuse_file(self.path / SUMS, f"is not a list of checksums; {AGAIN}, or remove it", number)
            sums[name] = digest
        return sums

    def _seal(self, name: str) -> None:
        """Notes what a file is: all files at the end of a run, and after that each that is written anew."""
        sums = self._sums()
        if not sums and name != LAST:
            return
        written = [name] if sums else sorted(path.name for path in self.path.iterdir() if _summed(path.name))
        sums |= {one: sha256_of(self.path / one) for one in written}
        with replacing(self.path / SUMS) as partial:
            partial.write_text("".join(f"{sums[one]}  {one}\n" for one in sorted(sums)), encoding="utf-8")

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        # allow_nan=False: undefined is null in our files; a NaN here is a bug and must not reach a reader.
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def _read_json(self, name: str) -> dict[str, Any]:
        return read_json(self._intact(name), "JSON", AGAIN)

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        unfinished = self.path.name.endswith(SUFFIX)  # it is brought to the disk when it is published
        with replacing(self.path / name, durable=not unfinished) as partial:
            write(partial)
        if _summed(name):
            self._seal(name)


class _GrowingTable:
    """A parquet file written a part at a time."""

    def __init__(self, kind: str, file: pq.ParquetWriter) -> None:
        self._kind = kind
        self._file = file
        self._rows: list[msgspec.Struct] = []

    def add(self, row: msgspec.Struct) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._file.write_table(_table(self._kind, self._rows))
            self._rows.clear()


@contextmanager
def using(*paths: Path) -> Iterator[None]:
    """Around work with run directories: what fails in it because one is not as it was written becomes BadInput.

    A failure with directories whose sums are right is a defect of ours, and passes.
    """
    try:
        yield
    except TestbedError:
        raise
    except Exception as error:
        for path in paths:
            if not RunDirectory(path).sealed:
                raise refusal(path, error, "a finished run of this version", AGAIN) from error
        raise


def load(path: Path) -> RunData:
    """Everything a run directory says; BadInput when a file is missing or not readable."""
    directory = RunDirectory(path)
    kinds = [*RECORDS, *(kind for kind in LIVE_RECORDS if (path / f"{kind}.parquet").is_file())]
    return RunData(manifest=directory.read_manifest(), **{kind: directory.read_rows(kind) for kind in kinds})


def _record(kind: str) -> type[msgspec.Struct]:
    return RECORDS.get(kind) or LIVE_RECORDS[kind]


def _table(kind: str, rows: Sequence[msgspec.Struct]) -> pa.Table:
    record = _record(kind)
    schema = schema_of(record)
    columns = {name: [getattr(row, name) for row in rows] for name in record.__struct_fields__}
    return pa.Table.from_pydict(columns, schema=schema)


def _summed(name: str) -> bool:
    """Whether a file is the run's own; reports may be drawn again by another version."""
    return name in FILES or name.removesuffix(".parquet") in LIVE_RECORDS


def _as_recorded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the record with its types; those that may be null are null where an older run has none."""
    columns = []
    for field_ in schema:
        if field_.name not in table.column_names and field_.nullable:
            columns.append(pa.nulls(table.num_rows, field_.type))
            continue
        column = table[field_.name]
        if column.type != field_.type and not pa.types.is_list(field_.type):
            raise ValueError(f"column {field_.name} is {column.type}, not {field_.type}")
        if not field_.nullable and column.null_count:
            raise ValueError(f"column {field_.name} has rows without a value")
        columns.append(column.cast(field_.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _field(name: str, hint: Any) -> pa.Field:
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        (inner,) = (option for option in options if option is not type(None))
        return pa.field(name, _ARROW[inner], nullable=True)
    if typing.get_origin(hint) is tuple:
        return pa.field(name, pa.list_(pa.field("item", _ARROW[options[0]], nullable=False)), nullable=False)
    return pa.field(name, _ARROW[hint], nullable=False)
