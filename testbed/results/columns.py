"""Log rows held as columns: what a fast writer of rows has, in the place where a list of record structs could be.

Rule kept: a table made from columns equals the table made from the same rows as structs, so it gives the same bytes.
Text is a number into a few names. Read as a sequence, the rows are structs again, made one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import msgspec
import numpy as np
import pyarrow as pa

Row = TypeVar("Row", bound=msgspec.Struct)


@dataclass(frozen=True)
class Coded:
    """Text: each row's number into `names`."""

    codes: np.ndarray[Any, np.dtype[np.int8]] | np.ndarray[Any, np.dtype[np.int16]]
    names: tuple[str, ...]


Numbers = np.ndarray[Any, np.dtype[np.int64]] | np.ndarray[Any, np.dtype[np.float64]]
Column = Numbers | Coded | str | int | float  # one value stands for as many


@dataclass(frozen=True, eq=False)
class Columns(Sequence[Row], Generic[Row]):
    """`length` rows of one record struct; a column for each of its fields."""

    record: type[Row]
    columns: Mapping[str, Column]
    length: int

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self.length))]
        if not -self.length <= index < self.length:
            raise IndexError(index)
        return self.record(*(_value(self.columns[name], index) for name in self.record.__struct_fields__))

    def __iter__(self) -> Iterator[Row]:
        values = [_values(self.columns[name], self.length) for name in self.record.__struct_fields__]
        return (self.record(*row) for row in zip(*values, strict=True))

    def table(self, schema: pa.Schema) -> pa.Table:
        arrays = [_array(self.columns[field.name], self.length, field.type) for field in schema]
        return pa.Table.from_arrays(arrays, schema=schema)


@dataclass(frozen=True, eq=False)
class Joined(Sequence[Row], Generic[Row]):
    """Rows of several nodes or phases, some as columns and some as structs, one after another."""

    parts: Sequence[Sequence[Row]]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return list(self)[index]
        at = index + len(self) if index < 0 else index
        for part in self.parts:
            if 0 <= at < len(part):
                return part[at]
            at -= len(part)
        raise IndexError(index)

    def __iter__(self) -> Iterator[Row]:
        for part in self.parts:
            yield from part


def _value(column: Column, index: int) -> Any:
    if isinstance(column, Coded):
        return column.names[column.codes[index]]
    return column[index].item() if isinstance(column, np.ndarray) else column


def _values(column: Column, length: int) -> Sequence[Any]:
    if isinstance(column, Coded):
        return [column.names[code] for code in column.codes.tolist()]
    return column.tolist() if isinstance(column, np.ndarray) else [column] * length


def _array(column: Column, length: int, kind: pa.DataType) -> pa.Array:
    if isinstance(column, Coded):
        return pa.array(column.names, kind).take(pa.array(column.codes))
    if isinstance(column, np.ndarray):
        return pa.array(np.ascontiguousarray(column), kind)
    return pa.repeat(pa.scalar(column, kind), length)
