"""What was imported, as files of the testbed: a topology (with a CSV matrix where it is large), an RTT trace, events.

Rule kept: what is not in the imported file, and is needed, is said to be our choice where it stands.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from testbed.errors import BadInput
from testbed.files.yamlfile import filling
from testbed.network.imports.found import Found, RoundTrips
from testbed.network.imports.mahimahi import MOST_STEPS, Rate
from testbed.network.spec.fabric import Pair
from testbed.network.spec.matrixfile import MatrixFile, matrix_text
from testbed.network.spec.places import places
from testbed.network.spec.series import ABOUT, COLUMNS, load_series
from testbed.network.spec.source import Source
from testbed.network.spec.topology import load_topology

INLINE = 12  # regions: larger topologies have their figures in a CSV
INSIDE_MS = 1.0  # our choice, as in the shipped topologies


@dataclass(frozen=True)
class About:
    """What people say of a file that is imported."""

    name: str
    description: str
    citation: str
    licence: str
    measured_on: date
    url: str | None = None
    kind: str | None = None
    provider: str | None = None
    inside_ms: float | None = None


def slug(text: str) -> str:
    """A name for files out of any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "imported"


def topology_files(found: Found, about: About) -> dict[str, str]:
    """Text by file name; the first is the topology."""
    told = {"citation": about.citation, "licence": about.licence, "url": about.url, "statistic": found.statistic}
    with filling("what is imported", Source):
        source = Source.model_validate({**told, "kind": about.kind or found.kind})
    names = found.regions
    missing = {(a, b) for a in names for b in names if a != b} - found.rtt_ms.keys()
    inside, choice = about.inside_ms, ""
    if inside is None:
        inside = median(found.inside_ms) if found.inside_ms else INSIDE_MS
        choice = "median of what the file has" if found.inside_ms else "our choice, not measured"
    data: dict[str, Any] = {"name": about.name, "description": about.description}
    files: dict[str, str] = {}
    matrices = {"jitter_ms": found.jitter_ms, "loss": found.loss, "reorder": found.reorder, "rate_bps": found.rate_bps}
    if len(names) > INLINE:
        matrix = MatrixFile(source, about.measured_on, tuple(names), _matrix(found.rtt_ms))
        files[f"{about.name}.csv"] = matrix_text(matrix)
        data["rtt_csv"] = [f"{about.name}.csv"]
    else:
        data |= {"source": source.model_dump(exclude_none=True), "measured_on": about.measured_on}
    data["regions"] = [_region(name, about, found) for name in names]
    if missing:
        left_out = any((b, a) in missing for a, b in missing)
        data["missing"] = "left_out" if left_out else "other_direction"
    data["intra_site_rtt_ms"] = float(f"{inside:.6g}")
    if len(names) <= INLINE:
        data["rtt_ms"] = _matrix(found.rtt_ms)
    data |= {key: _matrix(values) for key, values in matrices.items() if values}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    if choice:
        text = re.sub(r"^(intra_site_rtt_ms: .*)$", rf"\1  # {choice}", text, flags=re.MULTILINE)
    return {f"{about.name}.yaml": text, **files}


def require_readable(files: Mapping[str, str]) -> None:
    """Reads what is to be written as any other file, in a folder that goes again. Raises BadInput."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        first = Path(folder) / next(iter(files))
        if first.suffix == ".yaml":
            load_topology(first)
        else:
            load_series(str(first))


def _matrix(values: Mapping[Pair, Any]) -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}
    for (a, b), value in values.items():
        made.setdefault(a, {})[b] = value
    return made


def _region(name: str, about: About, found: Found) -> dict[str, Any]:
    known = places().get(name)
    region: dict[str, Any] = {"name": name, "provider": about.provider or (known.provider if known else "unknown")}
    if known is not None:
        region["note"] = known.title
    if name in found.positions:
        region["lat"], region["lon"] = found.positions[name]
    return region


def trace_text(trips: Mapping[Pair, RoundTrips], about: About, where: str) -> tuple[str, tuple[str, ...]]:
    """An RTT trace, and notes. All pairs begin and end together, so what one pair alone has is cut off.

    A loss is no round trip: the value before it holds.
    """
    kept = {pair: _rising(one) for pair, one in trips.items()}
    for (a, b), rows in kept.items():
        if len(rows) < 2:
            line = trips[a, b].line
            raise BadInput(f"{where}:{line}: {a} -> {b}: {len(rows)} replies with a time; a trace needs two or more")
    timed = {one.timed for one in trips.values()}
    notes: list[str] = []
    if len(kept) > 1 and timed != {True}:
        kept = {pair: [(at - rows[0][0], value) for at, value in rows] for pair, rows in kept.items()}
        notes.append("not every pair has times of a clock: each is taken to begin with its first reply")
    start, end = max(rows[0][0] for rows in kept.values()), min(rows[-1][0] for rows in kept.values())
    if start >= end:
        raise BadInput(f"{where}: the pairs were not measured at the same time; import them one by one")
    if (cut := sum(not start <= at <= end for rows in kept.values() for at, _ in rows)) > 0:
        notes.append(f"{cut} replies lie before or after what all pairs have")
    lost = {pair: one.loss for pair, one in trips.items() if one.loss}
    told = {
        "description": about.description, "kind": "measured", "source": about.citation, "licence": about.licence,
        "measured_on": about.measured_on.isoformat(),
    }  # fmt: skip
    assert set(ABOUT) <= set(told)
    if lost:
        share = ", ".join(f"{a} -> {b} {value:.3g}" for (a, b), value in lost.items())
        told["lost"] = f"share of round trips that did not come back, over which the value before holds: {share}"
        notes.append(f"{len(lost)} pairs lost packets; the trace says how many, network.loss can set it")
    lines = [f"# {key}: {' '.join(value.split())}" for key, value in told.items()]
    lines.append(",".join(COLUMNS))
    held = sorted((at, *pair, value) for pair, of in kept.items() for at, value in _window(of, start, end))
    lines += [f"{at:.12g},{src},{dst},{value:.9g}" for at, src, dst, value in held]
    return "\n".join(lines) + "\n", tuple(notes)


def _rising(one: RoundTrips) -> list[tuple[float, float]]:
    """Replies in order of time; of two at the same moment the first. A last row says where the last value ends."""
    rows: list[tuple[float, float]] = []
    for at, value in one.samples:
        at = round(at, 6)
        if value is not None and (not rows or at > rows[-1][0]):
            rows.append((at, value))
    if len(rows) > 1:
        steps = sorted(b[0] - a[0] for a, b in pairwise(rows))
        rows.append((round(rows[-1][0] + steps[(len(steps) - 1) // 2], 6), rows[-1][1]))
    return rows


def _window(rows: Sequence[tuple[float, float]], start: float, end: float) -> list[tuple[float, float]]:
    """What holds from start to end, counted from start."""
    before = [value for at, value in rows if at <= start]
    inside = [(round(at - start, 6), value) for at, value in rows if start < at < end]
    last = inside[-1][1] if inside else before[-1]
    return [(0.0, before[-1]), *inside, (round(end - start, 6), last)]


def events_text(rates: Sequence[Rate], about: About, src: str, dst: str, until_s: float) -> str:
    """Keys of an experiment that give one direction of a link this rate over time; the trace starts over until the end.

    Steps in which nothing can be delivered are cuts.
    """
    step = rates[1].at_s if len(rates) > 1 else until_s
    length = rates[-1].at_s + step if len(rates) > 1 else until_s
    if until_s > MOST_STEPS * step:
        raise BadInput(f"--until-s {until_s:g} is more than {MOST_STEPS} steps of {step:g} s; take a longer --step-s")
    events: list[str] = []
    before: float | None = None
    turn = 0
    while turn * length < until_s:
        for rate in rates:
            at = turn * length + rate.at_s
            if at >= until_s or rate.mbit == before:
                continue
            up = "up: false" if rate.mbit == 0 else f"rate_mbit: {rate.mbit:.6g}"
            if before == 0 and rate.mbit:
                up = f"up: true, {up}"
            events.append(f"  - {{at_s: {at:.6g}, link: {{from: {src}, to: {dst}}}, {up}}}")
            before = rate.mbit
        turn += 1
    head = [f"# {about.description}", f"# source: {about.citation} ({about.licence})",
            "# Keys of an experiment: rates of one direction of a link over a trial"]  # fmt: skip
    return "\n".join([*head, "events:", *events]) + "\n"
