"""Round-trip times that change over a run: the trace file, and the link that follows from it.

A file is CSV: first lines `# key: value` that say what it is, then the columns time_s,src,dst,rtt_ms. Rules kept, each
checked with its line: a value holds until the pair's next one; times of a pair only grow; all pairs begin and end
together, and the last time is where the series ends (a loop goes back to the first value there, `hold` keeps the last).
A pair given in one direction serves both. Nothing is interpolated and no pair is guessed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

from testbed.errors import BadInput
from testbed.files.named import SERIES, find, known
from testbed.files.numbers import number
from testbed.files.reading import as_text, read_bytes, refuse_file, shown
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import nearest, said
from testbed.network.spec.fabric import Pair, delay_us
from testbed.network.spec.topology import Topology
from testbed.system.units import NS_PER_S, NS_PER_US

COLUMNS = ("time_s", "src", "dst", "rtt_ms")
ABOUT = ("description", "kind", "source", "licence")  # what every file must say of itself
KINDS = ("measured", "synthetic")
OWN = ("name", "sha256", "seconds")  # what a manifest says of a series besides what its file says
MAX_RTT_MS = 60_000.0  # as in a topology
MAX_SECONDS = 8_640_000  # at the least speed, 64 bits of nanoseconds hold it

AtEnd = Literal["loop", "hold"]


class Sample(NamedTuple):
    """From `time_s` on, counted from the start of the series, the round trip takes `rtt_ms`."""

    time_s: float
    rtt_ms: float


@dataclass(frozen=True)
class RttSeries:
    """A checked file; make one with `load_series`. `about` is what it says of itself."""

    name: str
    about: Mapping[str, str]
    pairs: Mapping[Pair, tuple[Sample, ...]]
    seconds: float
    sha256: str

    @property
    def sites(self) -> list[str]:
        return sorted({site for pair in self.pairs for site in pair})

    def as_manifest(self) -> dict[str, object]:
        """What a run says of the series it used."""
        return {"name": self.name, "sha256": self.sha256, "seconds": self.seconds, **self.about}

    def samples(self, a: str, b: str) -> tuple[Sample, ...] | None:
        """Measured from `a` to `b`, or the other way where the file has only that; None if it has neither."""
        return self.pairs.get((a, b)) or self.pairs.get((b, a))


@dataclass(frozen=True)
class SeriesReplay:
    """A series put onto the links of a topology. `speed` is series seconds a run second."""

    series: RttSeries
    speed: float = 1.0
    at_end: AtEnd = "loop"
    sites: Mapping[str, str] = field(default_factory=dict)  # the topology's site to the series'; itself if not here

    def samples(self, a: str, b: str) -> tuple[Sample, ...] | None:
        """Of two sites of the topology."""
        return self.series.samples(self.sites.get(a, a), self.sites.get(b, b))

    def require(self, topology: Topology, pairs: Iterable[Pair]) -> None:
        """BadInput unless the series has every one of these pairs of different sites, and there is one."""
        pairs = list(pairs)
        where = f"network.rtt_series: {self.series.name}"
        regions, known = topology.region_names, self.series.sites
        for site in self.sites:
            if site not in regions:
                raise BadInput(
                    f"network.series_sites: topology {topology.name}: no region {site!r}{nearest(site, regions)}"
                )
        if not pairs:
            raise BadInput(f"{where}: every node is at the target's site, so the trace would have no effect; remove it")
        for a, b in pairs:
            for site in (self.sites.get(a, a), self.sites.get(b, b)):
                if site not in known:
                    fix = "network.series_sites maps names"
                    raise BadInput(f"{where}: has no site {site!r}{nearest(site, known)} ({fix})")
            if self.samples(a, b) is None:
                raise BadInput(f"{where}: pair {a} -> {b} is missing in both directions, but this experiment uses it")

    def delay(self, topology: Topology, a: str, b: str) -> SteppedDelay | None:
        """One-way delay from `a` to `b`: the topology's share of the round trip; None for a pair without a series."""
        samples = self.samples(a, b)
        if a == b or samples is None:
            return None
        share = topology.share(a, b)
        ends_ns = _ns(self.series.seconds, self.speed)
        kept = samples[:-1] if self.at_end == "loop" else samples
        return SteppedDelay(
            tuple(_ns(one.time_s, self.speed) for one in kept),
            tuple(delay_us(share * one.rtt_ms) * NS_PER_US for one in kept),
            ends_ns if self.at_end == "loop" else None,
        )


class SteppedDelay:
    """A delay in steps over virtual time: called, it gives the step that holds. From `period_ns` on it starts over."""

    def __init__(self, times_ns: tuple[int, ...], delays_ns: tuple[int, ...], period_ns: int | None) -> None:
        self.delays_ns = delays_ns
        self._times_ns = times_ns
        self._period_ns = period_ns

    def __call__(self, now_ns: int) -> int:
        if self._period_ns is not None:
            now_ns %= self._period_ns
        return self.delays_ns[bisect_right(self._times_ns, now_ns) - 1]

    def next_after(self, now_ns: int) -> int | None:
        """When the next step begins, after this moment; None once the last one holds for good."""
        turn_ns = 0 if self._period_ns is None else now_ns - now_ns % self._period_ns
        index = bisect_right(self._times_ns, now_ns - turn_ns)
        if index < len(self._times_ns):
            return turn_ns + self._times_ns[index]
        return None if self._period_ns is None else turn_ns + self._period_ns


def _ns(series_s: float, speed: float) -> int:
    return round(series_s / speed * NS_PER_S)


def available_series() -> dict[str, Path]:
    """Series by name; the first folder that has a name wins."""
    return known(SERIES)


def load_series(name_or_path: str) -> RttSeries:
    """A series by name from `workloads/rtt/`, or by path. Raises BadInput with file and every wrong line."""
    path = find(name_or_path, SERIES)
    content = read_bytes(path)
    lines = as_text(content, path).rstrip().splitlines()
    about, start = _about(path, lines)
    rows = _rows(path, lines, start)
    first_s, last_s = _ends(path, rows)
    pairs = {pair: tuple(Sample(row.time_s - first_s, row.rtt_ms) for row in of_pair) for pair, of_pair in rows.items()}
    name = path.name.removesuffix(SERIES.suffix)
    return RttSeries(name, about, pairs, last_s - first_s, hashlib.sha256(content).hexdigest())


class _Row(NamedTuple):
    line: int
    time_s: float
    rtt_ms: float


def _about(path: Path, lines: list[str]) -> tuple[dict[str, str], int]:
    """The leading comments, and the index of the first row of figures."""
    about: dict[str, str] = {}
    for index, line in enumerate(lines):
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if not colon or not value.strip():
                _refuse(path, index, f"{said(line)} is not `# key: value`")
            if key.strip() in OWN:
                _refuse(path, index, f"`# {key.strip()}:` is reserved by the testbed; use another key")
            about[key.strip()] = value.strip()
            continue
        for key in ABOUT:
            if key not in about:
                _refuse(path, index, f"the lines before it have no `# {key}: ...`")
        if about["kind"] not in KINDS:
            _refuse(path, index, f"kind is {said(about['kind'])}; must be one of {', '.join(KINDS)}")
        if tuple(line.split(",")) != COLUMNS:
            right = ",".join(COLUMNS)
            _refuse(path, index, f"the columns must be {right}, in seconds and milliseconds; they are {said(line)}")
        return about, index + 1
    raise BadInput(f"{path}: holds no data; after the `#` lines come {','.join(COLUMNS)} and rows")


def _rows(path: Path, lines: list[str], start: int) -> dict[Pair, list[_Row]]:
    rows: dict[Pair, list[_Row]] = {}
    refusals = Refusals(path)
    for index, line in enumerate(lines[start:], start=start):
        with refusals.one():
            pair, row = _row(path, index, line)
            of_pair = rows.setdefault(pair, [])
            if of_pair and row.time_s <= of_pair[-1].time_s:
                before, (src, dst) = of_pair[-1], pair
                _refuse(
                    path, index, f"time goes backwards for {src} -> {dst}: {row.time_s:g} s after {before.time_s:g} s "
                    f"on line {before.line}",
                )  # fmt: skip
            of_pair.append(row)
    refusals.settle()
    return rows


def _row(path: Path, index: int, line: str) -> tuple[Pair, _Row]:
    fields = line.split(",")
    if not line.strip():
        _refuse(path, index, "is an empty line; remove it")
    if len(fields) != len(COLUMNS):
        _refuse(path, index, f"{len(fields)} fields, not the {len(COLUMNS)} of {','.join(COLUMNS)}")
    src, dst = fields[1], fields[2]
    time_s, rtt_ms = _number(path, index, 0, fields), _number(path, index, 3, fields)
    for site in (src, dst):
        if site != site.strip(" \t\"'") or site != shown(site):
            _refuse(path, index, f"site {said(site)}; write names without quotes or surrounding blanks")
    if not src or not dst or src == dst:
        _refuse(path, index, f"{said(src)} -> {said(dst)} is not a pair of two sites")
    if rtt_ms > MAX_RTT_MS:
        _refuse(path, index, f"rtt_ms is {rtt_ms:g}; must be from 0 to {MAX_RTT_MS:g}, in milliseconds")
    return (src, dst), _Row(index + 1, time_s, rtt_ms)


def _ends(path: Path, rows: Mapping[Pair, list[_Row]]) -> tuple[float, float]:
    """The first and the last time, the same for every pair."""
    if not rows:
        raise BadInput(f"{path}: holds no rows")
    one = next(iter(rows.values()))
    for (src, dst), of_pair in rows.items():
        for at, word in ((0, "begins"), (-1, "ends")):
            if of_pair[at].time_s != one[at].time_s:
                message = f"{src} -> {dst} {word} at {of_pair[at].time_s:g} s, the first pair at {one[at].time_s:g} s"
                _refuse(path, of_pair[at].line - 1, f"{message}; all pairs must begin and end at the same time")
        if len(of_pair) < 2:
            _refuse(path, of_pair[0].line - 1, f"{src} -> {dst} has one row; a trace needs at least two")
    if one[-1].time_s - one[0].time_s > MAX_SECONDS:
        _refuse(
            path, one[-1].line - 1, f"the trace lasts more than {MAX_SECONDS} s (100 days); are the times in seconds?"
        )
    return one[0].time_s, one[-1].time_s


def _number(path: Path, index: int, column: int, fields: list[str]) -> float:
    text = fields[column]
    try:
        value = number(text)
        if value < 0:
            raise ValueError("write 0 or more")
    except ValueError as error:
        _refuse(path, index, f"{COLUMNS[column]} is {said(text)}; {error}, in the column's unit")
    return value


def _refuse(path: Path, index: int, message: str) -> NoReturn:
    refuse_file(path, message, index + 1)
