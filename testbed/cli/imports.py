"""`topology import` and `trace import`: what other tools measured, as files of the testbed. Thin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli import importoptions as given
from testbed.cli.options import Json
from testbed.cli.output import note, print_json
from testbed.errors import BadInput

if TYPE_CHECKING:
    from datetime import date

    from testbed.network.imports.found import Found, RoundTrips
    from testbed.network.spec.fabric import Pair


def add_to(topologies: typer.Typer, traces: typer.Typer) -> None:
    topologies.command("import")(import_topology)
    traces.command("import")(import_trace)


def import_topology(
    files: given.Files,
    format_name: given.FormatName = None,
    name: given.Name = None,
    out: given.Out = Path(),
    src: given.From = None,
    dst: given.To = None,
    rename: given.Rename = None,
    unit: given.Unit = None,
    decimal: given.Decimal = None,
    statistic: given.Statistic = None,
    zeros: given.Zeros = None,
    repeats: given.Repeats = None,
    rows: given.Rows = None,
    names: given.Names = None,
    places: given.Places = None,
    kind: given.Kind = None,
    citation: given.Citation = None,
    licence: given.Licence = given.UNSAID,
    url: given.Url = None,
    measured_on: given.MeasuredOn = None,
    provider: given.Provider = None,
    intra_ms: given.Inside = None,
    as_json: Json = False,
) -> None:
    """Make a topology of measured round-trip times.

    Formats: csv-long, csv-matrix, azure, cloudping, pairs, atlas, ping, irtt, tcconfig. The format is told by the
    content; it and everything that was left out is printed. Figures of more than 12 regions go to a CSV beside the
    topology. Nothing is overwritten.
    """
    from testbed.network.imports import formats
    from testbed.network.imports.written import topology_files

    options = given.options_of(
        rename, names, places, src=src, dst=dst, unit=unit, decimal=decimal, statistic=statistic, zeros=zeros,
        repeats=repeats, rows=rows,
    )  # fmt: skip
    told: list[str] = []
    found: Found | None = None
    taken: list[str] = []
    for path in files:
        text, format_, notes = _read(path, formats.OF_TOPOLOGIES, format_name)
        assert format_.figures is not None
        one = format_.figures(text, path, options)
        told += [f"{path}: {line}" for line in (*notes, *one.notes)]
        taken.append(format_.name)
        found = one if found is None else _together(found, one, path)
    assert found is not None
    found = given.placed(found, places, options)
    about = given.about_of(
        files, name, citation, licence, url, measured_on or found.measured_on, kind, provider, intra_ms, "RTT"
    )
    written = topology_files(found, about)
    _write(written, out, check=True)
    regions, links = len(found.regions), len(found.rtt_ms)
    told += found.gaps()
    _tell(as_json, written, out, taken, told, {"regions": regions, "links": links}, f"{regions} regions, {links} links")


def import_trace(
    files: given.Files,
    format_name: given.FormatName = None,
    name: given.Name = None,
    out: given.Out = Path(),
    src: given.From = None,
    dst: given.To = None,
    rename: given.Rename = None,
    citation: given.Citation = None,
    licence: given.Licence = given.UNSAID,
    measured_on: given.MeasuredOn = None,
    interval_s: given.Interval = None,
    step_s: Annotated[float, typer.Option("--step-s", min=0.001, help="mahimahi: one rate per step.")] = 1.0,
    until_s: Annotated[
        float | None, typer.Option("--until-s", min=0.001, help="mahimahi: start over until then; default: once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a trace of round trips, rates or rules over time.

    Formats: atlas, ping and irtt become an RTT trace for `network.rtt_series`; mahimahi becomes `events:` with the
    rate of one direction of a link (--from, --to); tcconfig becomes a topology of two sites.
    """
    from testbed.network.imports import formats, mahimahi
    from testbed.network.imports.written import events_text, topology_files, trace_text

    options = given.options_of(src=src, dst=dst, rename=rename, interval_s=interval_s)
    told: list[str] = []
    taken: list[str] = []
    trips: dict[Pair, RoundTrips] = {}
    for path in files:
        text, format_, notes = _read(path, formats.OF_TRACES, format_name)
        taken.append(format_.name)
        told += [f"{path}: {line}" for line in notes]
        about = given.about_of(
            files, name, citation, licence, None, measured_on, None, None, None, "Round trips over time"
        )
        if format_.trips is None:
            if len(files) > 1:
                raise BadInput(f"{path}: of {format_.name} one file at a time can be imported")
            if format_.figures is not None:
                found = format_.figures(text, path, options)
                written = topology_files(found, about)
                told += found.notes
            else:
                if options.src is None or options.dst is None:
                    raise BadInput(f"{path}: a trace of {format_.name} is of one direction; say --from A --to B")
                chances = mahimahi.chances(text, path)
                until = until_s or chances[-1] / 1000
                rates = mahimahi.rates(chances, step_s)
                written = {f"{about.name}.yaml": events_text(rates, about, options.src, options.dst, until)}
            _write(written, out, check=format_.figures is not None)
            _tell(as_json, written, out, taken, told, {}, format_.what)
            return
        made, more = format_.trips(text, path, options)
        told += [f"{path}: {line}" for line in more]
        for pair, one in made.items():
            if pair in trips:
                raise BadInput(f"{path}: {pair[0]} -> {pair[1]} is in another file too; leave one out")
            trips[pair] = one
    about = given.about_of(files, name, citation, licence, None, measured_on or _day(trips), None, None, None,
                   "Round trips over time")  # fmt: skip
    text, more = trace_text(trips, about, str(files[0]))
    written = {f"{about.name}.csv": text}
    _write(written, out, check=True)
    replies = sum(len(one.values) for one in trips.values())
    _tell(as_json, written, out, taken, [*told, *more], {"pairs": len(trips), "replies": replies},
          f"{len(trips)} pairs, {replies} replies")  # fmt: skip


def _read(path: Path, among: Sequence[str], told: str | None) -> tuple[str, Any, list[str]]:
    from testbed.files.reading import read_others_text
    from testbed.network.imports.formats import format_of

    text, how = read_others_text(path)
    format_, was_told = format_of(text, path, among, told)
    notes = [] if was_told else [f"format {format_.name}, by its content"]
    return text, format_, notes + ([f"read as {how}"] if how else [])


def _together(one: Found, other: Found, path: Path) -> Found:
    """Of several files; a pair may be in one of them only."""
    from dataclasses import replace

    if (twice := next((pair for pair in other.rtt_ms if pair in one.rtt_ms), None)) is not None:
        raise BadInput(f"{path}: {twice[0]} -> {twice[1]} is in another file too; leave one out")
    if one.kind != other.kind:
        raise BadInput(f"{path}: holds {other.kind} figures, the files before it {one.kind}; import them one by one")
    return replace(
        one,
        rtt_ms={**one.rtt_ms, **other.rtt_ms},
        loss={**one.loss, **other.loss},
        jitter_ms={**one.jitter_ms, **other.jitter_ms},
        reorder={**one.reorder, **other.reorder},
        rate_bps={**one.rate_bps, **other.rate_bps},
        inside_ms=one.inside_ms + other.inside_ms,
    )


def _day(trips: Mapping[Pair, RoundTrips]) -> date | None:
    from datetime import UTC, datetime

    ends = [one.samples[-1][0] for one in trips.values() if one.timed and one.samples]
    return datetime.fromtimestamp(max(ends), UTC).date() if ends and 1e8 < max(ends) < 1e11 else None


def _write(files: Mapping[str, str], out: Path, check: bool) -> None:
    """Writes the files, which are read as any others before they are there for good."""
    from testbed.files.whole import check_folder, write_new
    from testbed.network.imports.written import require_readable

    check_folder(out, option="--out")
    if there := [name for name in files if (out / name).exists()]:
        raise BadInput(f"{out / there[0]}: is there already and is not overwritten; choose another --name or --out")
    if check:
        require_readable(files)
    for name in reversed(list(files)):
        write_new(out / name, files[name])


def _tell(
    as_json: bool, files: Mapping[str, str], out: Path, formats: Sequence[str], notes: Sequence[str],
    counts: Mapping[str, int], holds: str,
) -> None:  # fmt: skip
    written = [str(out / name) for name in files]
    if as_json:
        kinds = list(dict.fromkeys(formats))
        print_json({"written": written, "formats": kinds, **counts, "notes": list(notes)})
        return
    for line in notes:
        note(line)
    print(f"{', '.join(written)}: {holds}")
