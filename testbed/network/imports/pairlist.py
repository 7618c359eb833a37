"""Lists of pairs in words, `Paris - Rome: 21.3 ms`, and WonderNetwork's lists, whose names are in another file."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

from testbed.files.reading import refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import said
from testbed.network.imports.cells import decimal_style, figure, scale_of
from testbed.network.imports.found import Found, Options
from testbed.network.imports.pairtables import pairs_from
from testbed.network.imports.reader import TWICE
from testbed.network.imports.tables import tables
from testbed.network.spec.fabric import Pair

BOTH = ("<->", "<=>", "↔", "⇄", "<-->", "/")
_LINE = re.compile(
    r"\s*(?:[*+•]\s+|-\s+|[0-9]+[.)]\s+)?(?P<a>\S.*?)\s*"
    r"(?P<way><-->|<->|<=>|↔|⇄|-->|->|=>|→|⇒|\s(?:to|and|nach|vers)\s|\s-\s|\s/\s|\s[\u2013\u2014]\s)\s*"
    r"(?P<b>.*?\S)(?:\s*[:=,;|\t]\s*|\s*\(\s*|\s+)~?(?P<value>[0-9][0-9.,]*\s*(?:ms|us|µs|s|msec|sec)?)\)?\s*$"
)
# A hyphen without blanks joins two names only where it is the only one and no name has a digit: us-east-1 is one name.
_CLOSE = re.compile(
    r"\s*(?P<a>[^\W\d_](?:[^\W\d_]|[ .'])*)(?P<way>[-\u2013\u2014/>])(?P<b>[^\W\d_](?:[^\W\d_]|[ .'])*?)"
    r"\s*[:=,;|\s]\s*~?(?P<value>[0-9][0-9.,]*\s*(?:ms|us|µs|s|msec|sec)?)\s*$"
)


def _pair(line: str) -> re.Match[str] | None:
    return _LINE.match(line) or _CLOSE.match(line)


def looks(text: str) -> bool:
    """Whether most lines are a pair in words."""
    lines = [line for line in text.splitlines()[:500] if line.strip() and not line.lstrip().startswith("#")]
    matching = sum(_pair(line) is not None for line in lines)
    return matching > 0 and matching * 2 > len(lines) and "\t" not in lines[0]


def found_in(text: str, path: Path, options: Options) -> Found:
    """Raises BadInput for a line that is not a pair."""
    if not looks(text):
        return pairs_from(max(tables(text, path), key=lambda table: len(table.rows)), path, options)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1)]
    matches = [(number, line, _pair(line)) for number, line in lines]
    style = decimal_style((one["value"] for _, _, one in matches if one is not None), " ", options.decimal)
    try:
        scale = scale_of(options.unit or "ms")
    except ValueError as error:
        refuse_file(path, f"--unit: {error}")
    given: dict[Pair, list[tuple[int, float]]] = {}
    refusals, titles = Refusals(path), 0
    for number, line, match in matches:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        with refusals.one():
            if match is None:
                if re.search(r"[0-9]\s*(?:ms|s|us)?\s*$", line):
                    refuse_file(path, f"{said(line.strip())} is not a pair; write `A - B: 12.3 ms`", number)
                titles += 1
                continue
            try:
                value = figure(match["value"], style, scale)
            except ValueError as error:
                refuse_file(path, f"{said(match['value'])}: {error}", number)
            a, b = options.named(match["a"].strip(" \"'")), options.named(match["b"].strip(" \"':,"))
            if value == 0 and a != b:
                refuse_file(path, f"{a} -> {b} is 0 ms; remove the line if there is no figure", number)
            ways = [(a, b), (b, a)] if match["way"].strip() in BOTH else [(a, b)]
            for way in ways:
                if value is not None and a != b:
                    given.setdefault(way, []).append((number, value))
    refusals.settle()
    rtt = {}
    for (a, b), several in given.items():
        if len({value for _, value in several}) > 1 and options.repeats != "median":
            refuse_file(path, f"{a} -> {b} {TWICE}", several[1][0])
        rtt[a, b] = round(median(value for _, value in several), 6)
    notes = (f"{titles} lines without a pair",) if titles else ()
    return Found(rtt, "public_ping", "as given", notes=notes)
