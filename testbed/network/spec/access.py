"""Access lines: sites that reach the world through another one, `behind` it, over a wired, Wi-Fi, LTE, ... line.

Rule kept: what lies between two such sites is what lies between the regions they are behind, and both lines; it is
worked out once, when the topology is read, into the same matrices as any other. A figure that the file gives itself is
not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from testbed.files.strict import DEGREES, MBIT_PER_S, MS, NUMBER, SHARE, Strict, Terse
from testbed.network.spec.source import Source

COUNTED = 250  # sites of one entry, at most: a /24 has no more nodes
Matrix = dict[str, dict[str, Any]]


class Access(Strict):
    """One kind of access line. Rates are those of the line, for each of its sites alone."""

    rtt_ms: Annotated[float, MS, Field(ge=0, le=60_000)] = Field(description="round trip over the line alone")
    jitter_ms: Annotated[float, MS, Field(ge=0, le=60_000)] = Field(
        default=0.0, description="uniform jitter of plus or minus this, one way"
    )
    loss: Annotated[float, SHARE, Field(ge=0, lt=1)] = Field(default=0.0, description="share of packets lost, one way")
    up_mbit: Annotated[float, MBIT_PER_S, Field(ge=0.008, le=10_000)] | None = Field(
        default=None, description="rate towards the region; not given: not limited"
    )
    down_mbit: Annotated[float, MBIT_PER_S, Field(ge=0.008, le=10_000)] | None = Field(
        default=None, description="rate from the region; not given: not limited"
    )
    source: Source = Field(description="where these figures come from")


class Region(Terse):
    """One region, in which any number of nodes can run."""

    quiet = ("lat", "lon", "behind", "access", "count")

    name: Annotated[str, Field(min_length=1)] = Field(description="what place: and the matrices call it")
    provider: str = Field(description="who operates it: aws, gcp, ...")
    note: str = Field(default="", description="for readers")
    lat: Annotated[float, DEGREES, Field(ge=-90, le=90)] | None = Field(
        default=None, description="degrees north, for the map; not given: that of a region the testbed knows"
    )
    lon: Annotated[float, DEGREES, Field(ge=-180, le=180)] | None = Field(default=None, description="degrees east")
    behind: str | None = Field(default=None, description="the region through which this site reaches all others")
    access: str | None = Field(default=None, description="the line to that region, one of access")
    count: Annotated[int, NUMBER, Field(ge=1, le=COUNTED)] = Field(
        default=1, description="that many such sites, NAME-1, NAME-2, ...; with behind"
    )


def expanded(regions: Sequence[Region]) -> list[Region]:
    """With each counted entry as the sites that it stands for."""
    found = []
    for region in regions:
        if region.count == 1:
            found.append(region)
            continue
        numbered = (f"{region.name}-{number}" for number in range(1, region.count + 1))
        found += [region.model_copy(update={"name": name, "count": 1}) for name in numbered]
    return found


def composed(
    regions: Sequence[Region], lines: Mapping[str, Access], matrices: Mapping[str, Matrix], intra: float
) -> None:
    """Adds what follows for every pair with a site behind another to the matrices rtt_ms, jitter_ms, loss, rate_bps.

    `intra`: round trip between two sites behind one region, lines apart.
    """
    core = {region.name: region.behind or region.name for region in regions}
    line = {region.name: lines[region.access] for region in regions if region.access is not None}
    rtt = matrices["rtt_ms"]
    for a in core:
        for b in core:
            if a == b or not (a in line or b in line):
                continue
            between = intra if core[a] == core[b] else rtt.get(core[a], {}).get(core[b])
            # the region itself is where its sites' lines end
            if core[a] == core[b] and (a not in line or b not in line):
                between = 0.0
            ends = [line[one] for one in (a, b) if one in line]
            if between is not None:
                rtt.setdefault(a, {}).setdefault(b, round(between + sum(one.rtt_ms for one in ends), 6))
            _compose(matrices, a, b, core, ends, line)


def _compose(
    matrices: Mapping[str, Matrix], a: str, b: str, core: Mapping[str, str], ends: Sequence[Access],
    line: Mapping[str, Access],
) -> None:  # fmt: skip
    """Jitter, loss and rate of the way from a to b: of both lines, and of the way between their regions."""

    def between(key: str) -> Any:
        return matrices[key].get(core[a], {}).get(core[b])

    jitter = (between("jitter_ms") or 0.0) + sum(one.jitter_ms for one in ends)
    kept = 1 - (between("loss") or 0.0)
    for one in ends:
        kept *= 1 - one.loss
    rates = [rate for rate in (
        between("rate_bps"),
        _bits(line[a].up_mbit) if a in line else None,
        _bits(line[b].down_mbit) if b in line else None,
    ) if rate is not None]  # fmt: skip
    if jitter:
        matrices["jitter_ms"].setdefault(a, {}).setdefault(b, jitter)
    if kept < 1:
        matrices["loss"].setdefault(a, {}).setdefault(b, round(1 - kept, 9))
    if rates:
        matrices["rate_bps"].setdefault(a, {}).setdefault(b, min(rates))


def _bits(mbit: float | None) -> int | None:
    return None if mbit is None else round(mbit * 1_000_000)
