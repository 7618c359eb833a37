"""Matrices of regions in a table, or in several that are its parts: rows are where round trips were measured from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from testbed.files.reading import refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import nearest, said
from testbed.network.imports.cells import MS, decimal_style, is_none, looks_numeric, tidy
from testbed.network.imports.columns import words
from testbed.network.imports.found import Found, Options
from testbed.network.imports.reader import TWICE, Reader
from testbed.network.imports.tables import Row, Table
from testbed.network.spec.fabric import Pair

_UNIT = re.compile(rf"\s*[(\[]\s*(?:{'|'.join(map(re.escape, MS))})\s*[)\]]\s*$", re.IGNORECASE)


def matrix_from(found: Sequence[Table], path: Path, options: Options, names: Mapping[str, str] | None = None) -> Found:
    """Of one matrix, or of several that are parts of one. `names`: what headings are called, where they are known."""
    given: dict[Pair, list[tuple[int, float]]] = {}
    all_cells = [cell for table in found for _, cells in table.rows[1:] for cell in cells[1:]]
    style = decimal_style(all_cells, found[0].delimiter, options.decimal)
    unit = None
    for table in found:
        unit = unit or _unit(table.rows[0][1])
    reader = Reader(path, style, options, unit, zeros_are_none=names is not None)
    refusals = Refusals(path)
    for table in found:
        header, body, skip = _shape(table, path, options)
        regions = [_name(cell, options, names) for cell in header]
        _refuse_twice(path, table.rows[0][0], regions)
        of_rows = {_name(cells[0], options, names) for _, cells in body}
        for line, cells in body:
            with refusals.one():
                a = _name(cells[0], options, names)
                if len(found) == 1 and a not in regions and _square(len(of_rows), len(regions)):
                    refuse_file(path, f"row {said(a)} is no column{nearest(a, regions)}; rename it with --rename", line)
                figures = cells[skip:]
                if len(figures) > len(regions) and not any(figures[len(regions) :]):
                    figures = figures[: len(regions)]
                if len(figures) > len(regions) or (len(figures) < len(regions) and not _triangle(body, skip)):
                    refuse_file(path, f"{len(figures)} figures in the row of {a} for {len(regions)} columns", line)
                for b, cell in zip(regions, figures, strict=False):
                    pair = (b, a) if options.rows == "to" else (a, b)
                    value = reader.read(line, *pair, cell)
                    if value is not None:
                        given.setdefault(pair, []).append((line, value))
    refusals.settle()
    if not given:
        refuse_file(path, "holds no figure of two regions", found[0].rows[0][0])
    reader.check(given.values())
    rtt = {}
    for (a, b), several in given.items():
        (_, first), *others = several
        if any(value != first for _, value in others) and options.repeats != "median":
            refuse_file(path, f"{a} -> {b} {TWICE}", others[0][0])
        rtt[a, b] = round(median(value for _, value in several), 6)
    return Found(rtt, "public_ping", "as given", inside_ms=tuple(reader.inside), notes=tuple(reader.notes()))


def _square(rows: int, columns: int) -> bool:
    """Whether rows and columns are meant to be the same regions."""
    return abs(rows - columns) <= 1


def _shape(table: Table, path: Path, options: Options) -> tuple[list[str], Sequence[Row], int]:
    """The headings of the columns, the rows of figures, and how many cells of each come before the figures."""
    line, first = table.rows[0]
    body: Sequence[Row] = table.rows[1:]
    if all(looks_numeric(cell) or is_none(cell) for _, cells in table.rows for cell in cells):
        size = len(first)
        if len(options.names) != size or len(table.rows) != size:
            fix = f"say --names A,B,... for its {size} regions"
            refuse_file(path, f"a matrix of {len(table.rows)} x {size} figures without names; {fix}", line)
        named = zip(options.names, table.rows, strict=True)
        return list(options.names), [(at, [name, *cells]) for name, (at, cells) in named], 1
    if not body:
        refuse_file(path, "has a header and no rows of figures", line)
    names = [cells[0] for _, cells in body]
    if first[: len(names)] == names:  # as many headings as figures: nothing stands in the corner
        return first, body, 1
    skip = 1
    while skip < len(first) - 1 and all(
        len(cells) > skip and cells[skip] and not looks_numeric(cells[skip]) and not is_none(cells[skip])
        for _, cells in body
    ):
        skip += 1
    longest = max(len(cells) for _, cells in body)
    if len(first) == longest - 1 and skip == 1 and first[0]:
        return first, body, 1
    header = first[skip:]
    while header and not header[-1]:
        header = header[:-1]
    if not header or not all(header):
        column = first.index("", skip) + 1 if "" in first[skip:] else 2
        refuse_file(path, f"column {column} has no name; name every column by its region", line)
    if all(looks_numeric(cell) for cell in header) and not set(header) <= set(names):
        refuse_file(
            path, f"the first line holds figures and no names of regions ({said(','.join(first[:4]))}, ...)", line
        )
    return header, body, skip


def _is_word(cell: str) -> bool:
    return not looks_numeric(cell) and not is_none(cell)


def _triangle(body: Sequence[Row], skip: int) -> bool:
    """Whether each row has one figure more, or less, than the one before."""
    lengths = [len(cells) for _, cells in body]
    steps = {b - a for a, b in pairwise(lengths)}
    return len(steps) == 1 and steps <= {1, -1} and len(body) > 1


def _refuse_twice(path: Path, line: int, regions: Sequence[str]) -> None:
    for at, name in enumerate(regions):
        if name in regions[:at]:
            refuse_file(path, f"column {said(name)} is there twice; remove or rename one", line)


def _unit(header: Sequence[str]) -> str | None:
    """Of all figures, where the corner, or every heading, says it."""
    units = [next((one for one in reversed(words(cell)) if one in MS and one != "min"), None) for cell in header]
    if len(words(header[0])) > 1 and units[0] is not None:
        return units[0]
    bracketed = [re.search(r"[(\[]\s*(\w+)\s*[)\]]\s*$", cell) for cell in header[1:]]
    told = {None if one is None or one[1].casefold() not in MS else one[1].casefold() for one in bracketed}
    return told.pop() if len(told) == 1 else None


def _name(cell: str, options: Options, names: Mapping[str, str] | None) -> str:
    name = tidy(_UNIT.sub("", cell))
    name = " ".join(name.split())
    if name in options.rename:
        return options.rename[name]
    return name if names is None else names.get("".join(words(name)), name)
