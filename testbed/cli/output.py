"""What verbs print: tables for people, one JSON document for programs, notes.

Rules kept: results go to stdout, everything else to stderr. Nothing is cut: on a terminal narrower than a table, long
cells go on over several lines, and away from a terminal every row is as long as it needs. Headings are the same in
both.
Every JSON document says its version.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

SCHEMA_VERSION = 1
UNDEFINED = "-"
WHOLE_NAME = 36  # columns: shorter names are not broken
UNLIMITED = 10_000  # columns: for asking how wide a table would be


def print_json(document: Mapping[str, Any]) -> None:
    """One document on stdout. `schema_version` grows by one when a key goes, or means something else; a run's summary
    has its own."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=2))


def note(text: str) -> None:
    """For what is not a result, on stderr."""
    print(text, file=sys.stderr, flush=True)


def show(*parts: RenderableType) -> None:
    """For results, on stdout. A width that is asked for by COLUMNS is kept to, as on a terminal."""
    from rich.console import Group

    paper = console()
    wide = paper.options.update(width=UNLIMITED)
    needed = {one: one.__rich_measure__(paper, wide).maximum for one in _tables(parts)}
    if not paper.is_terminal and "COLUMNS" not in os.environ:
        paper.width = max([paper.width, *needed.values()])
    for one, columns in needed.items():
        _fit(one, columns, paper.width)
    paper.print(Group(*parts))


def console() -> Console:
    """Names from files are text: rich reads no markup in them."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Rows with the same keys, which are the headings; the first names the row, numbers are to the right.

    A heading of numbers has a line per word, since it is longer than they are.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1))
    for number, key in enumerate(rows[0] if rows else ()):
        if all(type(row[key]) in (int, float) for row in rows if row[key] is not None):
            made.add_column(key.replace("_", "\n"), justify="right")
        else:
            longest = 0 if number else max(len(said(row[key])) for row in rows)
            made.add_column(key.replace("_", " "), min_width=min(longest, WHOLE_NAME))
    for row in rows:
        made.add_row(*(said(value) for value in row.values()))
    return _titled(title, made)


def pairs(title: str, values: Mapping[str, Any]) -> RenderableType:
    """One thing: a line for each of its values."""
    from rich.table import Table

    made = Table(box=None, show_header=False, show_edge=False, padding=(0, 2, 0, 1))
    for key, value in values.items():
        made.add_row(key.replace("_", " "), said(value))
    return _titled(title, made)


def _titled(title: str, table: Table) -> RenderableType:
    """The title stands above the table, not in it: the table may be narrower."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(title, style="italic"), table) if title else table


def said(value: Any) -> str:
    """As a cell of a table has it."""
    if value is None:
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        parts = (f"[{said(one)}]" if isinstance(one, list | tuple) else said(one) for one in value)
        return ", ".join(parts) or UNDEFINED
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {said(one)}" for key, one in value.items()) or UNDEFINED
    return str(value)


def _tables(parts: Iterable[Any]) -> Iterator[Table]:
    from rich.console import Group
    from rich.table import Table

    for part in parts:
        if isinstance(part, Table):
            yield part
        elif isinstance(part, Group):
            yield from _tables(part.renderables)


def _fit(table: Table, needed: int, width: int) -> None:
    """Cells fold where a row is longer than the width; headings and short names are not broken.

    rich shares the width out as if nothing had to stay whole, and crops what then does not fit.
    """
    natural = [max(map(_longest, (column.header, *column.cells))) for column in table.columns]
    widths, frame = list(natural), needed - sum(natural)
    least = [max(column.min_width or 0, _longest(column.header)) for column in table.columns]
    while sum(widths) + frame > width:
        spare = [wide - (low if table.show_header else 1) for wide, low in zip(widths, least, strict=True)]
        if max(spare) <= 0:
            break
        widest = max((index for index, left in enumerate(spare) if left > 0), key=widths.__getitem__)
        widths[widest] -= 1
    for column, wide in zip(table.columns, widths, strict=True):
        column.overflow, column.width, column.min_width = "fold", wide, None


def _longest(cell: Any) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, str(cell).splitlines()), default=0)
