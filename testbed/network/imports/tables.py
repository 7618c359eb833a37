"""Tables out of text: CSV of any delimiter, Markdown, HTML, columns of blanks. A table is rows of cells with lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from testbed.files.reading import csv_rows, refuse_file

Row = tuple[int, list[str]]
_RULE = re.compile(r"[\s|:+=-]+")
_SEP = re.compile(r"sep=(.)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """`delimiter`: what separates cells, "html" or "|" where that is markup."""

    rows: tuple[Row, ...]
    delimiter: str


def tables(text: str, path: Path) -> list[Table]:
    """Every table of a text. Raises BadInput where there is none."""
    found = list(_html(text) if re.search(r"<t[rdh][\s>]", text, re.IGNORECASE) else _lines(text, path))
    if not found:
        refuse_file(path, "holds no table; a header line and rows of figures are expected", 1)
    return found


def delimiter_of(lines: list[str]) -> str:
    """What separates the cells: of several possible, the one that divides most lines into equally many."""
    best, most = " ", (0, 0)
    for delimiter in ("\t", ";", ",", "|"):
        counts = Counter(line.count(delimiter) for line in lines)
        counts.pop(0, None)
        if not counts:
            continue
        fields, agreeing = counts.most_common(1)[0]
        if len(counts) > 2 and max(counts.values()) == 1:  # a triangle: each line has one more than the one before
            agreeing = sum(counts.values())
        # decimal commas appear in lines of semicolons; a name may hold a comma
        score = (agreeing + (delimiter in "\t;") * len(lines), fields)
        if agreeing * 2 >= len(lines) and score > most:
            best, most = delimiter, score
    return best


def _lines(text: str, path: Path) -> Iterator[Table]:
    lines = text.splitlines()
    told = _SEP.fullmatch(lines[0]) if lines else None
    kept = ["" if line.lstrip().startswith(("#", "//")) or (told and not at) else line for at, line in enumerate(lines)]
    piped = sum(line.lstrip().startswith("|") for line in kept)
    if piped >= 2 or any(re.fullmatch(r"\s*:?-{2,}.*\|.*", line) for line in kept):
        yield from _markdown(kept)
        return
    delimiter = told[1] if told else delimiter_of([line for line in kept if line.strip()])
    if delimiter == " ":
        rows = [(at + 1, line.split()) for at, line in enumerate(kept) if line.strip()]
        wide = [(at + 1, re.split(r"\t| {2,}", line.strip())) for at, line in enumerate(kept) if line.strip()]
        if len({len(cells) for _, cells in wide if len(cells) > 1}) == 1 and len(wide[-1][1]) > 2:
            rows = wide  # names with blanks in them
    else:
        rows = csv_rows("\n".join(kept), path, delimiter)
    # titles above a table, and notes below it, have one cell
    rows = [(line, _trimmed(cells)) for line, cells in rows]
    several = [at for at, (_, cells) in enumerate(rows) if len([one for one in cells if one]) > 1]
    rows = rows[several[0] : several[-1] + 1] if several else []
    if rows:
        yield Table(tuple(rows), delimiter)


def _trimmed(cells: list[str]) -> list[str]:
    """Without empty cells at the end that only a delimiter made: kept are those that a header may name."""
    return cells[:-1] if len(cells) > 2 and not cells[-1] and not cells[-2] else cells


def _markdown(lines: list[str]) -> Iterator[Table]:
    rows: list[Row] = []
    for at, line in enumerate([*lines, ""]):
        if "|" not in line:
            if len(rows) > 1:
                yield Table(tuple(rows), "|")
            rows = []
        elif not _RULE.fullmatch(line):
            inner = line.strip().removeprefix("|").removesuffix("|")
            rows.append((at + 1, [_unlinked(cell.strip()) for cell in re.split(r"(?<!\\)\|", inner)]))


def _unlinked(cell: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell).replace("**", "").replace("<br>", " ").replace("\\|", "|")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[Row]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table" or (tag == "tr" and not self.tables):
            self.tables.append([])
        if tag == "tr":
            self._close()
            self.tables[-1].append((self.getpos()[0], []))
        elif tag in ("td", "th"):
            self._close()
            self._cell = []
        elif tag == "br" and self._cell is not None:
            self._cell.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._close()

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _close(self) -> None:
        if self._cell is not None and self.tables and self.tables[-1]:
            self.tables[-1][-1][1].append(" ".join("".join(self._cell).split()))
        self._cell = None


def _html(text: str) -> Iterator[Table]:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    for rows in reader.tables:
        full = [(line, cells) for line, cells in rows if len(cells) > 1]
        if len(full) > 1:
            yield Table(tuple(full), "html")
