"""What differs between two topologies: the round-trip time of every link that both have, largest changes first."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from testbed.network.spec.topology import Topology


@dataclass(frozen=True)
class LinkChange:
    """The figure of one directed pair in both."""

    src: str
    dst: str
    before_ms: float
    after_ms: float

    @property
    def change_ms(self) -> float:
        return round(self.after_ms - self.before_ms, 6)

    @property
    def share(self) -> float | None:
        """Of the figure before; None if that is 0."""
        return self.change_ms / self.before_ms if self.before_ms else None

    def as_dict(self) -> dict[str, Any]:
        told = {"src": self.src, "dst": self.dst, "before_ms": self.before_ms, "after_ms": self.after_ms}
        return {**told, "change_ms": self.change_ms, "change_share": self.share}

    def as_row(self) -> dict[str, Any]:
        percent = "-" if self.share is None else f"{100 * self.share:+.1f} %"
        figures = {"before_ms": self.before_ms, "after_ms": self.after_ms, "change_ms": self.change_ms}
        return {"from": self.src, "to": self.dst, **figures, "change": percent}


@dataclass(frozen=True)
class Difference:
    """`links`: those that both have, largest change first."""

    before: Topology
    after: Topology
    links: tuple[LinkChange, ...]
    only_before: tuple[tuple[str, str], ...]  # links
    only_after: tuple[tuple[str, str], ...]

    @property
    def lost_regions(self) -> list[str]:
        return [one for one in self.before.region_names if one not in self.after.region_names]

    @property
    def new_regions(self) -> list[str]:
        return [one for one in self.after.region_names if one not in self.before.region_names]

    def summary(self) -> list[str]:
        """In words, for people."""
        a, b = self.before, self.after
        told = [f"{a.name} ({a.measured_on}) and {b.name} ({b.measured_on}): {len(self.links)} links in both"]
        if a.source.kind != b.source.kind:
            told.append(f"figures of different kinds: {a.source.kind or 'not said'} and {b.source.kind or 'not said'}")
        for where, regions in ((a.name, self.lost_regions), (b.name, self.new_regions)):
            if regions:
                told.append(f"regions in {where} alone: {', '.join(regions)}")
        for where, links in ((a.name, self.only_before), (b.name, self.only_after)):
            if links:
                told.append(f"links in {where} alone: {len(links)}")
        changed = [one for one in self.links if one.change_ms]
        if self.links:
            middle = median(abs(one.change_ms) for one in self.links)
            told.append(f"{len(changed)} changed; the median change is {middle:.4g} ms, whichever way")
        return told

    def as_dict(self) -> dict[str, Any]:
        return {
            "before": self.before.name,
            "after": self.after.name,
            "kinds": [self.before.source.kind, self.after.source.kind],
            "regions": {"before_only": self.lost_regions, "after_only": self.new_regions},
            "links": [one.as_dict() for one in self.links],
            "before_only": [list(pair) for pair in self.only_before],
            "after_only": [list(pair) for pair in self.only_after],
        }


def difference(before: Topology, after: Topology) -> Difference:
    """Of the figures as they were measured from each side."""
    a, b = ({pair: one.rtt[pair[0]][pair[1]] for pair in one.pairs()} for one in (before, after))
    links = [LinkChange(*pair, a[pair], b[pair]) for pair in a if pair in b]
    links.sort(key=lambda one: (-abs(one.change_ms), one.src, one.dst))
    return Difference(
        before,
        after,
        tuple(links),
        tuple(pair for pair in a if pair not in b),
        tuple(pair for pair in b if pair not in a),
    )
