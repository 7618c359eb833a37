"""The compact form of a topology's figures: one CSV matrix of round-trip times, with its source in its first lines.

A topology names it by `rtt_csv` and takes the regions that it lists; several topologies may take from one file. First
come lines `# key: value` (citation, licence, kind, measured_on, and what else `Source` has), then a line
`from \\ to,REGION,...`, then a line per region: milliseconds, measured from the region at its head; nothing where
there is no figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from testbed.errors import BadInput
from testbed.files.numbers import number
from testbed.files.reading import csv_rows, read_text, refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import filling, nearest, refuse, said
from testbed.files.yamltext import KeyPath, Lines
from testbed.network.spec.source import Source

CORNER = "from \\ to"
MAX_RTT_MS = 60_000.0  # as in a topology
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class MatrixFile:
    """A checked file."""

    source: Source
    measured_on: date
    regions: tuple[str, ...]
    figures: Figures  # from, to


def read_matrix(path: Path) -> MatrixFile:
    """Raises BadInput with file, line and fix."""
    text = read_text(path, missing="rtt_csv is a file beside the topology that names it")
    about, at, head = _about(path, text)
    rows = csv_rows(text, path)
    table = [(line, cells) for line, cells in rows if line > head]
    if not table:
        refuse_file(path, f"holds no figures; after the `#` lines comes `{CORNER},REGION,...`")
    (line, header), *body = table
    regions = _header(path, line, header)
    figures: Figures = {}
    refusals = Refusals(path)
    for line, cells in body:
        with refusals.one():
            name, row = _row(path, line, cells, regions)
            if name in figures:
                refuse_file(path, f"region {said(name)} has two rows; remove one", line)
            figures[name] = row
    refusals.settle()
    if missing := [name for name in regions if name not in figures]:
        refuse_file(
            path, f"region {said(missing[0])} has a column but no row; add one, with nothing where no figure is"
        )
    measured_on = about.pop("measured_on", None)
    try:
        day = date.fromisoformat(measured_on or "")
    except ValueError:
        refuse_file(
            path, f"`# measured_on:` is {said(measured_on)}; write the day of the measurement, as 2024-05-31",
            at.get(("measured_on",), 1),
        )  # fmt: skip
    with filling(path, Source, at):
        source = Source.model_validate(about)
    if source.kind is None:
        refuse_file(path, "its first lines have no `# kind: ...`, such as backbone or public_ping", 1)
    return MatrixFile(source, day, regions, figures)


def with_figures(data: dict[str, Any], lines: Lines, path: Path) -> dict[str, Any]:
    """The mapping of a topology with what its CSV files say in place of their names; as it is where it is wrong.

    Of what the files say, the topology may say nothing itself: `rtt_ms`, `source`, `measured_on`, `more_sources`.
    """
    names = data["rtt_csv"]
    if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names):
        refuse(path, lines, ("rtt_csv",), f"rtt_csv is {said(names)}; write a list of files, as [figures.csv]")
    for key in ("rtt_ms", "source", "measured_on", "more_sources"):
        if key in data:
            refuse(path, lines, (key,), f"{key}: the files of rtt_csv say that; remove it, or rtt_csv")
    entries = data.get("regions")
    regions = [one if isinstance(one, dict) else {} for one in entries] if isinstance(entries, list) else []
    listed = [None if {"behind", "access"} & one.keys() else one.get("name") for one in regions]
    cores = {name for name in listed if isinstance(name, str)}
    files = [read_matrix(path.parent / one) for one in names]
    held = {name for file in files for name in file.regions}
    for index, name in enumerate(listed):
        if isinstance(name, str) and name not in held:
            refuse(
                path,
                lines,
                ("regions", index, "name"),
                f"region {said(name)} has no row in rtt_csv{nearest(name, held)}",
            )
    rtt: dict[str, dict[str, float]] = {}
    for file in files:
        for a in (one for one in file.regions if one in cores):
            for b, value in file.figures[a].items():
                if b in cores:
                    rtt.setdefault(a, {}).setdefault(b, value)
    first, *others = files
    told: dict[str, Any] = {
        "source": first.source,
        "measured_on": max(file.measured_on for file in files),
        "rtt_ms": rtt,
    }
    if others:
        told["more_sources"] = [file.source for file in others]
    return {**{key: value for key, value in data.items() if key != "rtt_csv"}, **told}


def matrix_text(file: MatrixFile) -> str:
    """As `read_matrix` reads it."""
    about: Mapping[str, Any] = {
        **file.source.model_dump(exclude_none=True),
        "measured_on": file.measured_on.isoformat(),
    }
    lines = [f"# {key}: {value}" for key, value in about.items()]
    lines.append(",".join([CORNER, *file.regions]))
    for a in file.regions:
        row = file.figures.get(a, {})
        lines.append(",".join([a, *("" if row.get(b) is None else f"{row[b]:.12g}" for b in file.regions)]))
    return "\n".join(lines) + "\n"


def _about(path: Path, text: str) -> tuple[dict[str, str], dict[KeyPath, int], int]:
    """What the leading comments say, in which lines, and how many lines they are."""
    about: dict[str, str] = {}
    at: dict[KeyPath, int] = {}
    for index, line in enumerate(text.splitlines()):
        if not line.startswith("#"):
            return about, at, index
        key, colon, value = line[1:].partition(":")
        if not colon or not value.strip():
            refuse_file(path, f"{said(line)} is not `# key: value`", index + 1)
        about[key.strip()] = value.strip()
        at[key.strip(),] = index + 1
    return about, at, len(about)


def _header(path: Path, line: int, cells: Sequence[str]) -> tuple[str, ...]:
    if cells[0] != CORNER or len(cells) < 2:
        refuse_file(
            path, f"the matrix must begin with `{CORNER},REGION,...`; this line begins with {said(cells[0])}", line
        )
    for index, name in enumerate(cells[1:], start=1):
        if not name or name != name.strip() or name in cells[1:index]:
            refuse_file(
                path, f"column {index + 1} is {said(name)}; columns are regions, each once, without blanks", line
            )
    return tuple(cells[1:])


def _row(path: Path, line: int, cells: Sequence[str], regions: tuple[str, ...]) -> tuple[str, dict[str, float]]:
    name = cells[0]
    if name not in regions:
        refuse_file(path, f"row {said(name)} is no column{nearest(name, regions)}", line)
    if len(cells) != len(regions) + 1:
        refuse_file(path, f"{len(cells) - 1} figures for {len(regions)} regions", line)
    row = {}
    for other, cell in zip(regions, cells[1:], strict=True):
        if not cell:
            continue
        if other == name:
            refuse_file(path, f"{name} -> {name} is one region; leave the diagonal empty", line)
        try:
            value = number(cell)
            if not 0 <= value <= MAX_RTT_MS:
                raise ValueError(f"write 0 to {MAX_RTT_MS:g}")
        except ValueError as error:
            _refuse_figure(path, line, name, other, cell, error)
        row[other] = value
    return name, row


def _refuse_figure(path: Path, line: int, a: str, b: str, cell: str, error: ValueError) -> NoReturn:
    raise BadInput(f"{path}:{line}: {a} -> {b} is {said(cell)}; {error}, in milliseconds") from error
