"""The formats: which there are, which one a text is in, and what it says.

Rule kept: a format is told by what the text holds and never by the file's name; which one was taken is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BadInput
from testbed.files.reading import decode_json, refuse_file
from testbed.files.yamlfile import nearest, said
from testbed.network.imports import atlas, irtt, jsonpairs, mahimahi, pairlist, ping, tcconfig
from testbed.network.imports.columns import words
from testbed.network.imports.found import Found, Options, RoundTrips, figures_of
from testbed.network.imports.matrices import matrix_from
from testbed.network.imports.pairtables import headed, pairs_from
from testbed.network.imports.tables import Table, tables
from testbed.network.spec.fabric import Pair
from testbed.network.spec.places import places

Trips = tuple[dict[Pair, RoundTrips], tuple[str, ...]]


@dataclass(frozen=True)
class Format:
    """One format. `figures`: of a topology; `trips`: over time; None where it cannot give that."""

    name: str
    what: str
    figures: Callable[[str, Path, Options], Found] | None = None
    trips: Callable[[str, Path, Options], Trips] | None = None


def _atlas(text: str, path: Path, options: Options) -> Found:
    return figures_of(atlas.round_trips(text, path, options), str(path), "median of all pings")


def _ping(text: str, path: Path, options: Options) -> Found:
    trips, notes = ping.round_trips(text, path, options)
    return figures_of(trips, str(path), "median of all pings", notes)


def _irtt(text: str, path: Path, options: Options) -> Found:
    return figures_of(irtt.round_trips(text, path, options), str(path), "median of all round trips")


def _long(text: str, path: Path, options: Options) -> Found:
    return pairs_from(_largest(tables(text, path)), path, options)


def _matrix(text: str, path: Path, options: Options) -> Found:
    return matrix_from([_largest(tables(text, path))], path, options)


def _azure(text: str, path: Path, options: Options) -> Found:
    known = azure_names()
    found = [table for table in tables(text, path) if _of_azure(table, known)]
    if not found:
        refuse_file(path, "holds no table whose columns are Azure regions, such as West Europe", 1)
    taken = matrix_from(found, path, options, known)
    return Found(taken.rtt_ms, "backbone", "median over 30 days, as the page says", inside_ms=taken.inside_ms,
                 notes=taken.notes)  # fmt: skip


def azure_names() -> dict[str, str]:
    """Codes of Azure's regions, by title and by code without blanks."""
    own = {code: place for code, place in places().items() if place.provider == "azure"}
    return {**{code: code for code in own}, **{"".join(words(place.title)): code for code, place in own.items()}}


FORMATS = (
    Format("csv-long", "a list of pairs with headings for source, destination and round trip", _long),
    Format("csv-matrix", "a matrix with regions as rows and columns", _matrix),
    Format("azure", "the tables of Azure's page of round-trip latencies: Markdown, HTML, copied or CSV", _azure),
    Format("cloudping", "JSON of cloudping.co and services like it", jsonpairs.found_in),
    Format("pairs", "lists of pairs in words (`Paris - Rome: 21 ms`), and of WonderNetwork", pairlist.found_in),
    Format("atlas", "RIPE Atlas ping results as JSON", _atlas, lambda *given: (atlas.round_trips(*given), ())),
    Format("ping", "output of ping on Linux, BusyBox, macOS, BSD, Windows; fping's summary", _ping, ping.round_trips),
    Format("irtt", "JSON of irtt", _irtt, lambda *given: (irtt.round_trips(*given), ())),
    Format("tcconfig", "rules as tcshow prints them", tcconfig.found_in),
    Format("mahimahi", "packet-delivery traces of Mahimahi"),
)
OF_TOPOLOGIES = tuple(one.name for one in FORMATS if one.figures is not None)
OF_TRACES = ("mahimahi", *(one.name for one in FORMATS if one.trips is not None), "tcconfig")


def format_of(text: str, path: Path, among: Sequence[str], told: str | None) -> tuple[Format, bool]:
    """The format that was told, or that the text is in, and whether it was told. Raises BadInput."""
    named = {one.name: one for one in FORMATS}
    if told is not None:
        if told not in among:
            raise BadInput(f"--format {said(told)} is none that can be imported here{nearest(told, among)}")
        return named[told], True
    if not text.strip():
        refuse_file(path, "is empty", 1)
    name = _recognised(text, path)
    if name not in among:
        refuse_file(path, f"looks like {name}, {named[name].what}, which cannot be imported here; --format is one of "
                    f"{', '.join(among)}", 1)  # fmt: skip
    return named[name], False


def _recognised(text: str, path: Path) -> str:
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return _of_json(text, path)
    if mahimahi.looks(text):
        return "mahimahi"
    if ping.looks(text):
        return "ping"
    if pairlist.looks(text):
        return "pairs"
    found = tables(text, path)
    known = azure_names()
    if any(_of_azure(table, known) for table in found):
        return "azure"
    largest = _largest(found)
    first = largest.rows[0][1]
    if headed(largest, Options()) is not None:
        wonder = {"min", "avg", "max", "mdev"} <= {"".join(words(cell)) for cell in first}
        return "pairs" if wonder else "csv-long"
    return "csv-matrix"


def _of_json(text: str, path: Path) -> str:
    several = atlas.several_of(text)
    document: Any = decode_json(several[0][1], path, line=several[0][0]) if several else decode_json(text, path)
    if several or _of_probe(document):
        return "atlas"
    if isinstance(document, dict) and isinstance(document.get("round_trips"), list):
        return "irtt"
    return "tcconfig" if tcconfig.looks(document) else "cloudping"


def _of_probe(document: Any) -> bool:
    if isinstance(document, dict):
        document = [document] if "prb_id" in document else document.get("results")
    return isinstance(document, list) and any(isinstance(one, dict) and "prb_id" in one for one in document[:3])


def _of_azure(table: Table, known: dict[str, str]) -> bool:
    header = ["".join(words(cell)) for cell in table.rows[0][1][1:]]
    found = sum(cell in known for cell in header)
    rows = ["".join(words(cells[0])) for _, cells in table.rows[1:]]
    return bool(header) and found * 2 >= len(header) and sum(cell in known for cell in rows) * 2 >= len(rows)


def _largest(found: Sequence[Table]) -> Table:
    return max(found, key=lambda table: sum(len(cells) for _, cells in table.rows))
