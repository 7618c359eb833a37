"""A topology file: regions and the round-trip time of every pair of them, with the source of the figures.

Rule kept: nothing is guessed. A pair without a figure is refused, unless the file says by `missing` what is to be done;
what is our choice and not a measurement (delay inside a region, how an RTT divides into two directions) stands in the
file under its own name.

An RTT is one number for a pair, but sources measure it from both ends and at different moments. One-way delays are
`asymmetry` of the figure measured in that direction (regions' order in the file says which is forward) and the rest
of the figure measured in the other; their sum is the RTT that the emulated pair has, the same from both ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.files.named import TOPOLOGY, find, known
from testbed.files.pyfile import PythonFile
from testbed.files.strict import MS, SHARE, Strict, Terse, Unit
from testbed.files.yamlfile import filling, load_yaml, nearest, raise_mistakes
from testbed.network.spec.access import Access, Region, composed, expanded
from testbed.network.spec.effects import EFFECTS, EXCLUDE_EACH_OTHER
from testbed.network.spec.fabric import BurstLoss, Link
from testbed.network.spec.matrixfile import with_figures
from testbed.network.spec.source import Source
from testbed.network.spec.topologychecks import incomplete, mirrored, misnamed, misplaced

Milliseconds = Annotated[float, MS, Field(ge=0, le=60_000, allow_inf_nan=False)]
Share = Annotated[float, SHARE, Field(ge=0, le=1, allow_inf_nan=False)]
BitsPerSecond = Annotated[int, Unit("bit/s"), Field(ge=8_000)]
BufferMilliseconds = Annotated[float, MS, Field(gt=0, le=60_000, allow_inf_nan=False)]


class BurstLossShares(Strict):
    """Loss that comes in bursts; see `fabric.BurstLoss` for the model."""

    p: Share = Field(description="probability per packet of going from the good state to the bad one", examples=[0.01])
    r: Share = Field(description="probability per packet of going back", examples=[0.25])
    loss_bad: Share = Field(default=1.0, description="share of packets lost in the bad state")
    loss_good: Share = Field(default=0.0, description="share of packets lost in the good state")

    def of_link(self) -> BurstLoss:
        return BurstLoss(self.p, self.r, self.loss_bad, self.loss_good)


class Topology(Terse):
    """See the module's docstring for what the numbers mean; all times are milliseconds."""

    quiet = ("rtt_csv", "missing", "access", "mixed_kinds", "more_sources")

    name: str = Field(description="name of the topology; files of topologies/ are named by it")
    description: str = Field(description="what was measured, in a sentence or two")
    source: Source = Field(description="where the numbers come from; with rtt_csv, its first lines say it")
    measured_on: date = Field(description="day of the measurement, as 2024-05-31; with rtt_csv as source")
    regions: Annotated[list[Region], Field(min_length=1)] = Field(
        description="the regions; of two, the one listed first is at the start of the forward direction"
    )
    rtt: dict[str, dict[str, Milliseconds]] = Field(
        alias="rtt_ms", description="from region: to region: round-trip time measured from there"
    )
    rtt_csv: list[str] = Field(
        default_factory=list,
        description="in place of rtt_ms: CSV matrices beside this file, which may have more regions than it lists; of "
        "two that have a pair the first counts",
    )
    missing: Literal["refused", "other_direction", "left_out"] = Field(
        default="refused",
        description="a pair without a figure in one direction: refused; or the other direction's counts for both; or "
        "that, and pairs without any have no link, so that no experiment can use both regions",
    )
    access: dict[str, Access] = Field(
        default_factory=dict, description="lines by which sites reach the region that they are behind"
    )
    mixed_kinds: str | None = Field(
        default=None, description="why figures of different kinds may be put together, where they are"
    )
    more_sources: list[Source] = Field(
        default_factory=list, description="of figures that do not come from source; with rtt_csv, the other files'"
    )
    symmetric: bool = Field(
        default=False, description="true: matrices give one direction of each pair, and the other one is the same"
    )
    intra_site_rtt_ms: Milliseconds = Field(description="round-trip time between two nodes of one region")
    asymmetry: Annotated[float, SHARE, Field(gt=0, lt=1)] = Field(
        default=0.5, description="share of the round-trip time that the forward direction takes"
    )
    jitter_ms: dict[str, dict[str, Milliseconds]] = Field(
        default_factory=dict, description="from: to: uniform jitter of plus or minus this on the one-way delay"
    )
    loss: dict[str, dict[str, Share]] = Field(
        default_factory=dict, description="from: to: share of packets lost, each independently"
    )
    burst_loss: dict[str, dict[str, BurstLossShares]] = Field(
        default_factory=dict, description="from: to: loss in bursts, in place of loss"
    )
    reorder: dict[str, dict[str, Share]] = Field(
        default_factory=dict, description="from: to: share of packets sent at once, without the delay"
    )
    rate_bps: dict[str, dict[str, BitsPerSecond]] = Field(
        default_factory=dict, description="from: to: rate of the directed link; not given: not limited"
    )
    buffer_ms: dict[str, dict[str, BufferMilliseconds]] = Field(
        default_factory=dict, description="from: to: how long packets may queue for the rate; not given: 50 ms"
    )

    @property
    def region_names(self) -> list[str]:
        return [region.name for region in self.regions]

    def rtt_ms(self, a: str, b: str) -> float:
        """What a ping between nodes of these regions shows; the same from both ends."""
        return self.one_way_ms(a, b) + self.one_way_ms(b, a)

    def one_way_ms(self, a: str, b: str) -> float:
        """Delay from `a` to `b`; BadInput for a region that is not here."""
        for name in (a, b):
            if name not in self._order:
                raise BadInput(f"topology {self.name}: no region {name!r}{nearest(name, self._order)}")
        if a == b:
            return self.intra_site_rtt_ms / 2
        if not self.linked(a, b):
            raise BadInput(f"topology {self.name}: no figure for {a} -> {b}, so there is no link; choose other regions")
        return self.share(a, b) * self.rtt[a][b]

    def linked(self, a: str, b: str) -> bool:
        """Whether there is a figure for this pair of different regions."""
        return b in self.rtt.get(a, {})

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every directed pair of different regions that has a link."""
        return ((a, b) for a in self._order for b in self._order if a != b and self.linked(a, b))

    def only(self, names: Iterable[str]) -> Topology:
        """This topology without any other regions: for what many sites would make too large to be kept with a run."""
        kept = dict.fromkeys(names)
        regions = [one.model_copy(update={"behind": None, "access": None}) for one in self.regions if one.name in kept]
        used = {one.access for one in self.regions if one.name in kept}
        lines = [line.source for name, line in self.access.items() if name in used]
        held = self.model_dump(exclude={"access"}, by_alias=True) | {
            key: {a: {b: value for b, value in row.items() if b in kept} for a, row in matrix.items() if a in kept}
            for key, matrix in self.matrices()
        }
        sources = [one for one in (*self.more_sources, *lines) if one != self.source]
        return Topology.model_validate({**held, "regions": regions, "source": self.source, "more_sources": sources})

    @cached_property
    def _order(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.region_names)}

    def share(self, a: str, b: str) -> float:
        """Of a round trip measured from `a` to `b`, the part that the way there takes."""
        return self.asymmetry if self._order[a] < self._order[b] else 1 - self.asymmetry

    def link(self, a: str, b: str) -> Link:
        """All that is said of the way from `a` to `b`, as a link between two nodes that are called so."""
        return link_between(dict(self._effects()), a, b, self.one_way_ms(a, b))

    def with_rtt_ms(self, rtt_ms: float | Mapping[str, Mapping[str, float]]) -> Topology:
        """This topology with another round-trip time for every pair of regions, or for the pairs named, both ways."""
        names = self.region_names
        figures = {a: dict(row) for a, row in self.rtt.items()}
        if isinstance(rtt_ms, Mapping):
            changed = [(a, b, value) for a, row in rtt_ms.items() for b, value in row.items()]
        else:
            changed = [(a, b, rtt_ms) for a in names for b in names if a != b]
        for a, b, value in changed:
            for name in (a, b):
                if name not in names:
                    raise BadInput(f"network.rtt_ms: topology {self.name}: no region {name!r}{nearest(name, names)}")
            if a == b:
                raise BadInput(f"network.rtt_ms: {a} -> {b} is one region; use intra_site_rtt_ms of the topology")
            figures.setdefault(a, {})[b] = figures.setdefault(b, {})[a] = float(value)
        said = f"{self.description}; round-trip times set by the experiment: {rtt_ms}"
        return self.model_copy(update={"rtt": figures, "description": said})

    def with_effects(self, given: Mapping[str, float | BurstLossShares]) -> Topology:
        """This topology with these effects, by key, between all different regions; it keeps its own others.

        Either kind of loss takes the other's place. The buffer is that of the links that have a rate.
        """
        if not given:
            return self
        update: dict[str, Any] = {}
        for key, value in given.items():
            names = self.region_names if value else []  # nothing is said as an empty matrix
            update[key] = {a: {b: value for b in names if b != a} for a in names}
        if set(EXCLUDE_EACH_OTHER) & set(update):
            update = {**{key: {} for key in EXCLUDE_EACH_OTHER}, **update}
        if (buffer_ms := given.get("buffer_ms")) is not None:
            rates = update.get("rate_bps", self.rate_bps)
            if not any(rates.values()):
                raise BadInput(f"network.buffer_ms: no link of topology {self.name} has a rate; set network.rate_mbit")
            update["buffer_ms"] = {a: dict.fromkeys(row, buffer_ms) for a, row in rates.items()}
        said = ", ".join(f"{key} {_as_said(value)}" for key, value in given.items())
        return self.model_copy(update={**update, "description": f"{self.description}; set by the experiment: {said}"})

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        raise_mistakes(misplaced(self))
        self.regions[:] = expanded(self.regions)
        raise_mistakes(misnamed(self))
        if self.symmetric:
            raise_mistakes(one for key, matrix in self.matrices() for one in mirrored(key, matrix))
        elif self.missing != "refused":
            self._fill()
        composed(self.regions, self.access, dict(self.matrices()), self.intra_site_rtt_ms)
        raise_mistakes(incomplete(self))
        return self

    def _fill(self) -> None:
        """A pair measured in one direction serves both."""
        for a, b in [(a, b) for a, row in self.rtt.items() for b in row]:
            self.rtt.setdefault(b, {}).setdefault(a, self.rtt[a][b])

    def matrices(self) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
        yield "rtt_ms", self.rtt
        yield from self._effects()

    def _effects(self) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
        for effect in EFFECTS:
            yield effect.key, getattr(self, effect.key)


def _as_said(value: float | BurstLossShares) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else f"({value})"


def link_between(matrices: Mapping[str, Any], a: str, b: str, one_way_ms: float) -> Link:
    """The link from `a` to `b` by the matrices of a topology, in Python or as a manifest has them."""
    given = {effect.key: matrices.get(effect.key, {}).get(a, {}).get(b) for effect in EFFECTS}
    said = {key: value for key, value in given.items() if value is not None}
    if bursts := said.get("burst_loss"):
        said["burst_loss"] = BurstLossShares.model_validate(bursts).of_link()
    if (buffer_ms := said.pop("buffer_ms", None)) is not None:
        said["buffer_bytes"] = round(said["rate_bps"] * buffer_ms / 8000)
    return Link(a, b, one_way_ms, **said)


def specified_links(topology: Topology, placement: Mapping[str, str]) -> list[Link]:
    """The link of every directed pair of nodes, from the regions they stand in."""
    between = cache(topology.link)
    return [replace(between(placement[a], placement[b]), src=a, dst=b) for a in placement for b in placement if a != b]


def available() -> dict[str, Path]:
    """Topologies by name; the first folder that has a name wins."""
    return known(TOPOLOGY)


def load_topology(name_or_path: str | Path) -> Topology:
    """A topology by name (`aws-north-america`), by the path of its file, or a Mininet Topo (`path/to/file.py:Class`).

    Raises BadInput in one line.
    """
    text = str(name_or_path)
    if (named := PythonFile.named(text)) is not None:
        from testbed.network.spec.mininet_topo import load_fields

        fields = load_fields(*named)
        with filling(f"topology {text}", Topology):
            return Topology.model_validate(fields)
    path = name_or_path if isinstance(name_or_path, Path) else find(text, TOPOLOGY)
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: a topology is a mapping with the keys name, regions, rtt_ms, ...")
    if "rtt_csv" in data:
        data = with_figures(data, lines, path)
    with filling(path, Topology, lines):
        return Topology.model_validate(data)
