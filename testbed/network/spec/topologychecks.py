"""What makes a topology incomplete or ambiguous: one mistake each, with its place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from testbed.files.yamlfile import Mistake, nearest
from testbed.network.spec.source import mixing

if TYPE_CHECKING:
    from testbed.network.spec.topology import Topology


def misplaced(topology: Topology) -> Iterator[Mistake]:
    """Keys that need each other, and sources that may not be put together."""
    if topology.rtt_csv:
        yield Mistake(("rtt_csv",), "rtt_csv: the files were not read; load the topology from its file")
    behind = {one.name: one.behind for one in topology.regions}
    for index, region in enumerate(topology.regions):
        for key in ("behind", "access"):
            if getattr(region, key) is None and (region.access or region.behind or region.count > 1):
                message = f"region {region.name!r} has no {key}; behind, access (and count) go together"
                yield Mistake(("regions", index), message)
                break
        else:
            if region.access is not None and region.access not in topology.access:
                message = f"access {region.access!r} is not in access{nearest(region.access, topology.access)}"
                yield Mistake(("regions", index, "access"), message)
            if region.behind is not None and behind.get(region.behind, "") is not None:
                cores = [name for name, through in behind.items() if through is None]
                message = f"region {region.behind!r} is not one to be behind{nearest(region.behind, cores)}"
                yield Mistake(("regions", index, "behind"), message)
        if (region.lat is None) != (region.lon is None):
            yield Mistake(("regions", index), f"region {region.name!r} has one of lat and lon; give both or none")
    named = [("source", topology.source), *((f"more_sources[{n}]", one) for n, one in enumerate(topology.more_sources))]
    named += [(f"access.{name}.source", line.source) for name, line in topology.access.items()]
    if (wrong := mixing(named, topology.mixed_kinds)) is not None:
        yield Mistake(("mixed_kinds",) if topology.mixed_kinds else ("source",), wrong)


def misnamed(topology: Topology) -> Iterator[Mistake]:
    """Names that are no region, or one twice."""
    names = topology.region_names
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Mistake(("regions", index, "name"), f"region {name!r} is listed twice")
    for key, matrix in topology.matrices():
        places = [(key, a) for a in matrix] + [(key, a, b) for a, row in matrix.items() for b in row]
        for *at, name in places:
            if name not in names:
                yield Mistake((*at, name), f"{key}: region {name!r} is not in regions{nearest(name, names)}")
        for own in (name for name, row in matrix.items() if name in row):
            yield Mistake((key, own, own), f"{key}: {own} -> {own} is one region; use intra_site_rtt_ms")


def incomplete(topology: Topology) -> Iterator[Mistake]:
    """Pairs without a figure, and effects that exclude or need each other."""
    names = topology.region_names
    for a, b in ((a, b) for a in names for b in names if a != b):
        if b not in topology.rtt.get(a, {}) and topology.missing != "left_out":
            fix = "; give both directions, or set symmetric: true"
            if topology.symmetric or topology.missing == "other_direction":
                fix = "; give it, or say missing: left_out, and the pair has no link"
            yield Mistake(("rtt_ms", a), f"rtt_ms: pair {a} -> {b} is missing{fix}")
        if topology.loss.get(a, {}).get(b) and b in topology.burst_loss.get(a, {}):
            message = f"burst_loss: {a} -> {b} has loss too; they exclude each other, remove one of them"
            yield Mistake(("burst_loss", a, b), message)
        if b in topology.buffer_ms.get(a, {}) and b not in topology.rate_bps.get(a, {}):
            message = f"buffer_ms: {a} -> {b} has no rate_bps, so the buffer would stay empty"
            yield Mistake(("buffer_ms", a, b), message)


def mirrored(key: str, matrix: dict[str, dict[str, Any]]) -> Iterator[Mistake]:
    """Gives each pair of a matrix its other direction; what differs already is a mistake."""
    given = [(a, b, value) for a, row in matrix.items() for b, value in row.items()]
    told: set[tuple[str, str]] = set()
    for a, b, value in given:
        if matrix.setdefault(b, {}).setdefault(a, value) != value and (b, a) not in told:
            told.add((a, b))
            yield Mistake((key, b, a), f"{key}: {b} -> {a} differs from {a} -> {b}, but symmetric is true")
