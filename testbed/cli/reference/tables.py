"""The parquet tables of a run directory, column by column, from the structs that they are written from."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from testbed.results.store import LIVE_RECORDS, RECORDS, schema_of


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as arrow calls it
    nullable: bool
    description: str


@dataclass(frozen=True)
class Table:
    """One file of a run; `always`: every run has it."""

    file: str
    about: str
    always: bool
    columns: tuple[Column, ...]


def tables() -> list[Table]:
    """Every table of a run."""
    every = [(kind, record, True) for kind, record in RECORDS.items()]
    every += [(kind, record, False) for kind, record in LIVE_RECORDS.items()]
    return [Table(f"{kind}.parquet", _about(record), always, tuple(_columns(record))) for kind, record, always in every]


def _about(record: type[msgspec.Struct]) -> str:
    lines = (record.__doc__ or "").splitlines()
    text = "\n".join(line.strip() for line in lines)
    return text.strip()


def _columns(record: type[msgspec.Struct]) -> Iterator[Column]:
    hints = typing.get_type_hints(record, include_extras=True)
    for field in schema_of(record):
        notes = [one for one in typing.get_args(hints[field.name])[1:] if isinstance(one, msgspec.Meta)]
        described = next((one.description for one in notes if one.description), "")
        yield Column(field.name, str(field.type), field.nullable, described)
