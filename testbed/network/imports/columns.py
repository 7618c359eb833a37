"""What the columns, or the keys, of a list of pairs are: from whom, to whom, which figure in which unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.network.imports.cells import MS

FROM = {"src", "source", "from", "origin", "a", "client", "sender", "start", "prober", "von", "de", "src1", "region1",
        "node1", "city1", "site1", "host1", "regiona", "nodea", "first", "probe", "vantage"}  # fmt: skip
TO = {"dst", "dest", "destination", "to", "target", "b", "server", "receiver", "end", "nach", "vers", "region2",
      "node2", "city2", "site2", "host2", "regionb", "nodeb", "second", "peer", "remote", "endpoint"}  # fmt: skip
PLACE = {"region", "name", "city", "site", "node", "location", "loc", "dc", "datacenter", "datacentre", "zone", "id",
         "code", "host", "hostname", "ip", "addr", "address", "az", "endpoint", "point", "title", "place", "server",
         "cloud", "vm", "aws", "azure", "gcp"}  # fmt: skip
NOT_PLACES = {"provider", "tier", "lat", "lon", "latitude", "longitude", "country", "continent", "asn", "port", "count"}
# of several figures the first of these is taken; all are of round trips
STATISTICS = (
    ("p50", "median", "med", "50th", "50"),
    ("avg", "average", "mean"),
    ("rtt", "latency", "ping", "delay", "roundtrip", "rtts", "latencies"),
    ("min", "minimum", "best"),
    ("time", "value", "ms", "duration", "millis"),
)
OTHER = {"max", "maximum", "worst", "mdev", "std", "stddev", "stdev", "dev", "deviation", "jitter", "var", "variance",
         "p10", "p25", "p75", "p90", "p95", "p98", "p99", "10", "25", "75", "90", "95", "98", "99", "oneway",
         "change", "delta", "samples", "count", "n", "sent", "received", "lost", "loss"}  # fmt: skip
TIME = {"timestamp", "datetime", "date", "measured", "when", "created", "ts"}
LOSS = {"loss", "lost", "packetloss"}


@dataclass(frozen=True)
class Columns:
    """Places of columns. `units`: of figures, by column."""

    src: int
    dst: int
    figures: tuple[int, ...]  # the one to take first
    units: dict[int, str] = field(default_factory=dict)
    time: int | None = None
    loss: int | None = None
    percent: bool = False


def words(header: str) -> list[str]:
    """Of a heading: RegionTo, rtt_ms and `RTT (ms)` alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", header.replace("µ", "u").replace("μ", "u"))
    return re.findall(r"[a-z0-9]+|%|мс", spaced.casefold())


def columns_of(headers: Sequence[str], statistic: str | None = None) -> Columns | None:
    """None where these are not the headings of a list of pairs."""
    src = dst = time = loss = None
    percent, units, ranked = False, dict[int, str](), list[tuple[int, int]]()
    for at, header in enumerate(headers):
        of = words(header)
        whole = "".join(of)
        if _is(of, whole, FROM, TO) and src is None:
            src = at
        elif _is(of, whole, TO, FROM) and dst is None:
            dst = at
        elif statistic is not None and header.strip().casefold() == statistic.casefold():
            ranked.append((-1, at))
        elif LOSS & {*of, whole}:
            loss, percent = at, bool({"%", "pct", "percent", "percentage"} & set(of))
        elif TIME & {*of, whole} and not {"rtt", "latency", "ping"} & set(of):
            time = at if time is None else time
        elif (rank := _rank(of)) is not None:
            ranked.append((rank, at))
        if unit := next((one for one in reversed(of) if one in MS and one != "min"), None):
            units[at] = unit
    if src is None or dst is None or not ranked:
        return None
    if statistic is not None and ranked[0][0] != -1 and min(ranked)[0] != -1:
        return None
    figures = [at for _, at in sorted(ranked)]
    if time is None and len(figures) > 1 and "time" in words(headers[figures[-1]]):
        time = figures.pop()
    return Columns(src, dst, tuple(figures), units, time, loss, percent)


def _is(of: Sequence[str], whole: str, wanted: set[str], others: set[str]) -> bool:
    if NOT_PLACES & set(of) or not of:
        return False
    if whole in wanted:
        return True
    rest = set(of) - wanted
    return bool(set(of) & wanted) and rest <= PLACE and not set(of) & (others - PLACE)


def _rank(of: Sequence[str]) -> int | None:
    """How well these words name a figure of a round trip; None: not at all."""
    if not of or set(of) & OTHER or not set(of) - {"%"}:
        return None
    if set(of) & set(STATISTICS[3]):
        return 3
    return next((rank for rank, known in enumerate(STATISTICS) if set(of) & set(known)), None)
