"""Lists of pairs in a table: a row for each, with headings for source, destination and figure, in whatever words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median

from testbed.files.reading import refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import said
from testbed.network.imports.cells import decimal_style, is_none, looks_numeric, tidy
from testbed.network.imports.columns import PLACE, Columns, columns_of, words
from testbed.network.imports.found import Found, Options, one_way_loss
from testbed.network.imports.reader import TWICE, Reader
from testbed.network.imports.tables import Table
from testbed.network.spec.fabric import Pair

HEADERLESS = Columns(0, 1, (2,))


def headed(table: Table, options: Options) -> tuple[int, Columns] | None:
    """Where the rows of a list of pairs begin, and its columns; None for a table that is none."""
    for at, (_, cells) in enumerate(table.rows[:3]):
        columns = columns_of(cells, options.statistic)
        if columns is not None and _is_of_figures(table, at + 1, columns.figures[0]):
            return at + 1, columns
    first = table.rows[0][1]
    if len(first) >= 3 and all(_headerless(cells) for _, cells in table.rows):
        return 0, HEADERLESS
    return None


def _is_of_figures(table: Table, start: int, column: int) -> bool:
    """Whether this column has figures: regions may be called from, to, a, b or ping."""
    cells = [cells[column] for _, cells in table.rows[start:] if len(cells) > column]
    return not cells or any(map(looks_numeric, cells)) or all(map(is_none, cells)) or not any(
        looks_numeric(cell) for _, row in table.rows[start:] for cell in row)  # fmt: skip


def _measured_from(table: Table, src: str) -> Table:
    """A table of one source's destinations with the source in each row; as it is where it names its sources."""
    (line, header), *body = table.rows
    if columns_of(header) is not None:
        return table
    if columns_of(["from", *header]) is None:
        at = next((at for at, cell in enumerate(header) if set(words(cell)) and set(words(cell)) <= PLACE), None)
        if at is None:
            return table
        header = [*header[:at], "to", *header[at + 1 :]]
    rows = [(line, ["from", *header]), *((at, [src, *cells]) for at, cells in body)]
    return Table(tuple(rows), table.delimiter)


def _headerless(cells: Sequence[str]) -> bool:
    """`Frankfurt, Paris, 9.8`"""
    if len(cells) != 3:
        return False
    a, b, value = cells
    return not looks_numeric(a) and not looks_numeric(b) and (looks_numeric(value) or is_none(value))


def pairs_from(table: Table, path: Path, options: Options) -> Found:
    """Of a list of pairs."""
    if options.src is not None:
        table = _measured_from(table, options.src)
    start_columns = headed(table, options)
    if start_columns is None:
        line, cells = table.rows[0]
        told = f"; no column is called {said(options.statistic)}" if options.statistic else ""
        refuse_file(path, f"the columns must name source, destination and round trip, as src,dst,rtt_ms; they are "
                    f"{said(','.join(cells))}{told}", line)  # fmt: skip
    start, columns = start_columns
    body = table.rows[start:]
    at = columns.figures[0]
    style = decimal_style((cells[at] for _, cells in body if len(cells) > at), table.delimiter, options.decimal)
    reader = Reader(path, style, options, columns.units.get(at))
    given: dict[Pair, list[tuple[int, float]]] = {}
    losses: dict[Pair, list[float]] = {}
    days: list[date] = []
    refusals = Refusals(path)
    for line, cells in body:
        with refusals.one():
            if len(cells) <= max(columns.src, columns.dst, at):
                refuse_file(path, f"{len(cells)} fields, and the figure is in field {at + 1}", line)
            a, b = (options.named(tidy(cells[one])) for one in (columns.src, columns.dst))
            if not a or not b:
                refuse_file(path, "a pair without a name; write both regions", line)
            value = reader.read(line, a, b, cells[at])
            if value is not None and a != b:
                given.setdefault((a, b), []).append((line, value))
            if columns.loss is not None and len(cells) > columns.loss and not is_none(cells[columns.loss]):
                losses.setdefault((a, b), []).append(_loss(path, line, cells[columns.loss], columns.percent))
            if columns.time is not None and len(cells) > columns.time and (day := _day(cells[columns.time])):
                days.append(day)
    refusals.settle()
    if not given:
        refuse_file(path, "holds no figure of two regions", body[0][0] if body else table.rows[-1][0])
    reader.check(given.values())
    rtt, repeated = {}, 0
    for (a, b), several in given.items():
        distinct = {value for _, value in several}
        if len(distinct) > 1 and columns.time is None and options.repeats != "median":
            refuse_file(path, f"{a} -> {b} {TWICE}", several[1][0])
        repeated += len(several) > 1
        rtt[a, b] = round(median(value for _, value in several), 6)
    loss = {pair: one_way_loss(median(of)) for pair, of in losses.items() if pair in rtt and median(of) > 0}
    notes = reader.notes()
    if repeated:
        notes.append(f"{repeated} pairs are there several times; their median is taken")
    named = "" if start == 0 else f", column {said(table.rows[start - 1][1][at])}"
    return Found(
        rtt, "public_ping", f"as given{named}" + (", median of several" if repeated else ""), loss=loss,
        inside_ms=tuple(reader.inside), measured_on=max(days) if days else None, notes=tuple(notes),
    )  # fmt: skip


def _loss(path: Path, line: int, cell: str, percent: bool) -> float:
    text = tidy(cell)
    try:
        value = float(text.removesuffix("%").strip().replace(",", "."))
    except ValueError:
        refuse_file(
            path, f"the loss is {said(cell)}; write a share of 0 to 1, or a percentage in a column named loss %", line
        )
    share = value / 100 if percent or text.endswith("%") else value
    if not 0 <= share <= 1:
        refuse_file(path, f"the loss is {said(cell)}; write a share of 0 to 1, or name the column loss %", line)
    return min(share, 0.999)


def _day(cell: str) -> date | None:
    text = tidy(cell)
    try:
        if re.fullmatch(r"[0-9]{9,13}(\.[0-9]+)?", text):
            seconds = float(text)
            return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC).date()
        return date.fromisoformat(text[:10])
    except (ValueError, OverflowError, OSError):
        return None
