"""The options of `topology import` and `trace import`, and what they say of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.options import words
from testbed.errors import BadInput

if TYPE_CHECKING:
    from datetime import date

    from testbed.network.imports.found import Found, Options
    from testbed.network.imports.written import About

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="What was measured; several are put together.")]
FormatName = Annotated[str | None, typer.Option("--format", help="Its format; default: told by its content.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of what is written; default: of the file.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
From = Annotated[str | None, typer.Option("--from", callback=words, help="Who measured, where the file does not say.")]
To = Annotated[str | None, typer.Option("--to", callback=words, help="Who was measured, where the file does not say.")]
Rename = Annotated[
    list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="Another name for a region; repeatable.")
]
Unit = Annotated[str | None, typer.Option("--unit", help="Of figures without one: us, ms or s.")]
Decimal = Annotated[str | None, typer.Option("--decimal", help="What decimals are written with: comma or point.")]
Statistic = Annotated[str | None, typer.Option("--statistic", help="Column or key to take, e.g. p90.")]
Zeros = Annotated[str | None, typer.Option("--zeros", help="missing: 0 between two regions means no figure.")]
Repeats = Annotated[str | None, typer.Option("--repeats", help="median: of a pair that has several figures.")]
Rows = Annotated[str | None, typer.Option("--rows", help="to: rows of a matrix are destinations.")]
Names = Annotated[
    str | None, typer.Option("--names", callback=words, metavar="A,B,...", help="Of a matrix that has none.")
]
Places = Annotated[
    Path | None, typer.Option("--places", help="CSV of ids, names and positions, as WonderNetwork's servers.")
]
Kind = Annotated[str | None, typer.Option("--kind", help="Kind of the figures, e.g. backbone or public_ping.")]
Citation = Annotated[
    str | None, typer.Option("--citation", callback=words, help="What to cite; default: file and hash.")
]
Licence = Annotated[str, typer.Option("--licence", callback=words, help="Of the figures.")]
Url = Annotated[str | None, typer.Option("--url", callback=words, help="Where they are published.")]
MeasuredOn = Annotated[str | None, typer.Option("--measured-on", help="Day, as 2024-05-31; default: as the file says.")]
Provider = Annotated[
    str | None, typer.Option("--provider", callback=words, help="Of all regions; default: where the name is known.")
]
Inside = Annotated[float | None, typer.Option("--intra-ms", min=0, help="Round trip inside a region.")]
Interval = Annotated[float | None, typer.Option("--interval-s", min=0.000001, help="Between pings without a time.")]
UNSAID = "not stated"


def options_of(
    rename: Sequence[str] | None, names: str | None = None, places: Path | None = None, **given: Any
) -> Options:
    """For the readers. Raises BadInput for a word that is none of an option's."""
    from testbed.files.yamlfile import said
    from testbed.network.imports.found import Options

    for key, valid in (
        ("decimal", ("comma", "point")),
        ("zeros", ("missing",)),
        ("repeats", ("median",)),
        ("rows", ("to",)),
    ):
        if given.get(key) not in (None, *valid):
            raise BadInput(f"--{key} is {said(given[key])}; write {' or '.join(valid)}")
    renamed = {} if places is None else {place: title for place, (title, _) in places_of(places).items()}
    for one in rename or ():
        old, equals, new = one.partition("=")
        if not equals or not old or not new:
            raise BadInput(f"--rename is {said(one)}; write OLD=NEW")
        renamed[old] = new
    return Options(**given, rename=renamed, names=tuple(names.split(",")) if names else ())


def places_of(path: Path) -> dict[str, tuple[str, tuple[float, float] | None]]:
    """Name and position by id, of a table with such columns."""
    from testbed.files.numbers import number
    from testbed.files.reading import read_others_text, refuse_file
    from testbed.files.yamlfile import said
    from testbed.network.imports.columns import words as plain
    from testbed.network.imports.tables import tables

    text, _ = read_others_text(path)
    (line, header), *rows = tables(text, path)[0].rows
    heads = ["".join(plain(cell)) for cell in header]

    def column(*wanted: str) -> int | None:
        return next((heads.index(one) for one in wanted if one in heads), None)

    at, title = column("id", "code", "region"), column("title", "name", "city", "location")
    if at is None or title is None:
        refuse_file(path, "the columns must name an id and a name, as id,title,latitude,longitude", line)
    lat, lon = column("latitude", "lat"), column("longitude", "lon", "lng", "long")
    found: dict[str, tuple[str, tuple[float, float] | None]] = {}
    for at_line, cells in rows:
        if len(cells) <= max(at, title):
            refuse_file(path, f"{len(cells)} fields, not the {len(header)} that the header names", at_line)
        where = None
        if lat is not None and lon is not None and len(cells) > max(lat, lon) and cells[lat] and cells[lon]:
            try:
                where = number(cells[lat]), number(cells[lon])
                if abs(where[0]) > 90 or abs(where[1]) > 180:
                    raise ValueError("write up to 90 and up to 180")
            except ValueError as error:
                told = said(f"{cells[lat]},{cells[lon]}")
                refuse_file(path, f"{told} are no latitude and longitude in degrees; {error}", at_line)
        found[cells[at]] = cells[title], where
    return found


def placed(found: Found, places: Path | None, options: Options) -> Found:
    from dataclasses import replace

    if places is None:
        return found
    known = dict(places_of(places).values())
    return replace(found, positions={name: at for name in found.regions if (at := known.get(name)) is not None})


def about_of(
    files: Sequence[Path], name: str | None, citation: str | None, licence: str, url: str | None,
    measured_on: date | str | None, kind: str | None, provider: str | None, intra_ms: float | None, what: str,
) -> About:  # fmt: skip
    from datetime import date

    from testbed.files.reading import sha256_of
    from testbed.files.yamlfile import nearest, said
    from testbed.network.imports.written import About, slug
    from testbed.network.spec.source import KINDS

    if kind is not None and kind not in KINDS:
        raise BadInput(f"--kind {said(kind)} is unknown{nearest(kind, KINDS)}")
    if isinstance(measured_on, str):
        try:
            measured_on = date.fromisoformat(measured_on)
        except ValueError as error:
            raise BadInput(f"--measured-on is {said(measured_on)}; write a day, as 2024-05-31") from error
    if measured_on is None:
        measured_on = date.fromtimestamp(files[0].stat().st_mtime)
    listed = ", ".join(f"{path.name} (sha256 {sha256_of(path)[:12]})" for path in files[:3])
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    stem = slug(name or files[0].name.split(".")[0])
    if name is not None and stem != name:
        raise BadInput(f"--name is {said(name)}; letters, digits, `.`, `_` and `-` make a name")
    said_of = f"{what}, imported from {listed}{more}"
    return About(stem, said_of, citation or f"{listed}{more}", licence, measured_on, url, kind, provider, intra_ms)
