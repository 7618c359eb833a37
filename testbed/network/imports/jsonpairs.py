"""Latencies of clouds as JSON, as cloudping.co gives them, and the shapes that copies and similar services have.

Known shapes, also inside `data`, `results`, `body`, ...: source to destination to figure; a list of sources, each with
a list or mapping of destinations; a list of pairs; names and a matrix. A figure is a number, text with or without a
unit, or a mapping of statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, NoReturn

from testbed.files.reading import decode_json, refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import said
from testbed.network.imports.cells import figure, is_none, scale_of
from testbed.network.imports.columns import FROM, TO, columns_of, words
from testbed.network.imports.found import Found, Options
from testbed.network.imports.jsonplace import Key, line_of
from testbed.network.imports.reader import TWICE
from testbed.network.spec.fabric import Pair

WRAPPERS = ("data", "results", "result", "latencies", "latency", "averages", "pings", "pingData", "body", "response",
            "payload", "items", "values", "rtt", "rtt_ms", "metrics", "DataResponses")  # fmt: skip
NAMES = ("regions", "names", "labels", "nodes", "locations", "cities", "columns", "index", "sites")
ABOUT = {"metadata", "meta", "unit", "units", "timestamp", "timeframe", "percentile", "generated", "updated", "date",
         "statusCode", "headers", "description", "source", "license", "licence", "success", "status", "count",
         "version", "generated_at", "updated_at", "last_updated"}  # fmt: skip
OWN_REGION = {"region", "source", "from", "src", "name", "id", "region_name", "origin", "code", "regionfrom"}


class Entry(NamedTuple):
    place: tuple[Key, ...]
    src: str
    dst: str
    value: Any


def found_in(text: str, path: Path, options: Options) -> Found:
    """Raises BadInput where none of the known shapes is there, or a figure is none."""
    document = decode_json(text, path)
    unit = _unit(document)
    entries = list(_entries(document, (), options, path))
    if not entries:
        fix = "write {source: {destination: ms}}, or a list of {from, to, latency}"
        refuse_file(path, f"none of the known shapes of latencies is in this JSON: {fix}", 1)
    try:
        scale = scale_of(options.unit or unit or "ms")
    except ValueError as error:
        refuse_file(path, f"--unit: {error}")
    given: dict[Pair, list[tuple[tuple[Key, ...], float]]] = {}
    inside, none, zeros, statistics = [], 0, 0, dict[str, None]()
    refusals = Refusals(path)
    for entry in entries:
        with refusals.one():
            value, statistic = _value(entry, text, path, options, scale)
            if statistic:
                statistics[statistic] = None
            a, b = options.named(entry.src), options.named(entry.dst)
            if a == b:
                inside += [value] if value else []
            elif value is None:
                none += 1
            elif value == 0 and options.zeros == "missing":
                zeros += 1
            elif value == 0:
                _refuse(text, path, entry, "is 0 ms; if that means that there is no figure, say --zeros missing")
            else:
                given.setdefault((a, b), []).append((entry.place, value))
    refusals.settle()
    if not given:
        refuse_file(path, "holds no figure of two regions", 1)
    rtt = {}
    for (a, b), several in given.items():
        if len({value for _, value in several}) > 1 and options.repeats != "median":
            place = several[1][0]
            refuse_file(path, f"{a} -> {b} {TWICE}", line_of(text, place))
        rtt[a, b] = round(median(value for _, value in several), 6)
    told = [f"{none} pairs without a figure"] if none else []
    told += [f"{zeros} figures of 0 are none"] if zeros else []
    told += [f"{len(inside)} figures inside one region, median {median(inside):g} ms"] if inside else []
    of = f", {' or '.join(statistics)}" if statistics else ""
    return Found(rtt, "tcp_connect", f"as given{of}", inside_ms=tuple(inside), notes=tuple(told))


def _unit(document: Any) -> str | None:
    """That the document says of itself."""
    about = [document, *(document.get(key) for key in ("metadata", "meta"))] if isinstance(document, dict) else []
    found = (one.get(key) for one in about if isinstance(one, dict) for key in ("unit", "units"))
    return next((unit for unit in found if isinstance(unit, str)), None)


def _entries(value: Any, at: tuple[Key, ...], options: Options, path: Path) -> Iterator[Entry]:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = decode_json(value, path)  # a body within an answer
    if isinstance(value, list):
        yield from _of_list(value, at, options, path)
        return
    if not isinstance(value, dict):
        return
    names = next((value[key] for key in NAMES if isinstance(value.get(key), list)), None)
    grid = next((key for key, one in value.items() if _is_grid(one)), None)
    if names is not None and grid is not None and all(isinstance(one, (str, dict)) for one in names):
        called = [one if isinstance(one, str) else str(_first(one, OWN_REGION)) for one in names]
        yield from _of_grid(value[grid], (*at, grid), called, path)
        return
    for key in WRAPPERS:
        if isinstance(value.get(key), (dict, list, str)) and not isinstance(value.get("from", value.get("src")), str):
            several = list(_entries(value[key], (*at, key), options, path))
            if several:
                yield from several
                return
    if names is not None and all(isinstance(one, dict) for one in names):
        key = next(key for key in NAMES if value.get(key) is names)
        yield from _of_list(names, (*at, key), options, path)
        return
    for src, row in value.items():
        if src in ABOUT and not isinstance(row, dict):
            continue
        if src in ("metadata", "meta", "headers"):
            continue
        yield from _of_row(str(src), row, (*at, src), options)


def _is_grid(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, list) for one in value)


def _of_grid(grid: list[list[Any]], at: tuple[Key, ...], names: list[str], path: Path) -> Iterator[Entry]:
    if len(grid) != len(names):
        refuse_file(path, f"{len(grid)} rows of figures for {len(names)} names")
    for a, row in enumerate(grid):
        if len(row) != len(names):
            refuse_file(path, f"{len(row)} figures in the row of {names[a]} for {len(names)} names")
        yield from (Entry((*at, a, b), names[a], names[b], value) for b, value in enumerate(row))


def _of_list(items: list[Any], at: tuple[Key, ...], options: Options, path: Path) -> Iterator[Entry]:
    """Of pairs, or of sources."""
    sources = {str(_first(item, OWN_REGION)) for item in items if isinstance(item, dict)}
    for index, item in enumerate(items):
        if isinstance(item, list) and len(item) > 2 and all(isinstance(one, str) for one in item[:2]):
            yield Entry((*at, index, 2), item[0], item[1], item[2])
        if not isinstance(item, dict):
            continue
        keys = list(item)
        if (several := _points(item)) is not None:
            src, dst = (_first(item, {one}) for one in ("source", "destination"))
            yield Entry((*at, index), _text(src), _text(dst), median(several) if several else None)
            continue
        columns = columns_of(keys, options.statistic)
        if columns is not None and not isinstance(item[keys[columns.dst]], (dict, list)):
            a, b = _text(item[keys[columns.src]]), _text(item[keys[columns.dst]])
            figures = {keys[one]: item[keys[one]] for one in columns.figures}
            key = keys[columns.figures[0]]
            yield Entry((*at, index, key), a, b, _with_unit(figures[key], columns.units.get(columns.figures[0])))
            continue
        src = _first(item, OWN_REGION)
        if src is not None and len(sources & item.keys()) > 1:  # a row of a matrix
            yield from _of_row(_text(src), {key: item[key] for key in item if key in sources}, (*at, index), options)
            continue
        for key, row in item.items():
            if src is not None and isinstance(row, (dict, list)):
                yield from _of_row(_text(src), row, (*at, index, key), options)


def _points(item: Mapping[str, Any]) -> list[float] | None:
    """Of one pair's figures over time, as AWS's network manager gives them; None where there are none."""
    points = item.get("MetricPoints")
    if not isinstance(points, list) or not {"Source", "Destination"} <= item.keys():
        return None
    return [
        float(one["Value"]) for one in points if isinstance(one, dict) and isinstance(one.get("Value"), (int, float))
    ]


def _of_row(src: str, row: Any, at: tuple[Key, ...], options: Options) -> Iterator[Entry]:
    """Of one source: a mapping or a list of destinations."""
    if isinstance(row, dict):
        inner = next((key for key in WRAPPERS if isinstance(row.get(key), (dict, list))), None)
        if (inner is not None and _first(row, OWN_REGION) is not None) or (inner is not None and len(row) == 1):
            yield from _of_row(src, row[inner], (*at, inner), options)
            return
        yield from (Entry((*at, dst), src, str(dst), value) for dst, value in row.items())
    elif isinstance(row, list):
        for index, item in enumerate(row):
            if not isinstance(item, dict):
                continue
            to = next((key for key in item if {"".join(words(key)), *words(key)} & TO), None)
            to = to or next((key for key in item if key.casefold() in OWN_REGION), None)
            if to is not None:
                figures = {key: value for key, value in item.items() if key != to and not {"".join(words(key))} & FROM}
                yield Entry((*at, index), src, _text(item[to]), figures)


def _first(item: Mapping[str, Any], keys: set[str]) -> Any:
    return next(
        (value for key, value in item.items() if key.casefold() in keys and isinstance(value, (str, int))), None
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = _first(value, OWN_REGION)
    return str(value)


def _with_unit(value: Any, unit: str | None) -> Any:
    return (
        f"{value} {unit}"
        if unit is not None and isinstance(value, (int, float)) and not isinstance(value, bool)
        else value
    )


def _value(entry: Entry, text: str, path: Path, options: Options, scale: float) -> tuple[float | None, str]:
    """In milliseconds, and which statistic it is."""
    value, statistic = entry.value, ""
    if isinstance(value, dict):
        columns = columns_of(["from", "to", *value], options.statistic)
        if columns is None:
            _refuse(text, path, entry, f"has none of p50, avg, latency, ... but {said(', '.join(map(str, value)))}")
        at = columns.figures[0]
        statistic = [*value][at - 2]
        value = _with_unit(value[statistic], columns.units.get(at))
    if value is None or (isinstance(value, str) and is_none(value)):
        return None, statistic
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        _refuse(text, path, entry, f"is {said(value)}; a number of milliseconds is expected")
    try:
        return figure(str(value), options.decimal or "point", scale), statistic
    except ValueError as error:
        _refuse(text, path, entry, f"is {said(value)}; {error}")


def _refuse(text: str, path: Path, entry: Entry, problem: str) -> NoReturn:
    refuse_file(path, f"{entry.src} -> {entry.dst} {problem}", line_of(text, entry.place))
