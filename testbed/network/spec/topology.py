"""A topology file: regions and the round-trip time of every pair of them, with the source of the figures.

Rule kept: nothing is guessed. A pair without a figure is refused; what is our choice and not a measurement (delay
inside a region, how an RTT divides into two directions) stands in the file under its own name.

An RTT is one number for a pair, but sources measure it from both ends and at different moments. One-way delays are
`asymmetry` of the figure measured in that direction (regions' order in the file says which is forward) and the rest
of the figure measured in the other; their sum is the RTT that the emulated pair has, the same from both ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from testbed.errors import BadInput
from testbed.files.named import TOPOLOGY, find, known
from testbed.files.pyfile import PythonFile
from testbed.files.reading import shown
from testbed.files.strict import MS, SHARE, Strict, Unit
from testbed.files.yamlfile import Mistake, complaints, explain, load_yaml, nearest, raise_mistakes
from testbed.network.spec.effects import EFFECTS, EXCLUDE_EACH_OTHER
from testbed.network.spec.fabric import BurstLoss, Link

Milliseconds = Annotated[float, MS, Field(ge=0, le=60_000, allow_inf_nan=False)]
Share = Annotated[float, SHARE, Field(ge=0, le=1, allow_inf_nan=False)]
BitsPerSecond = Annotated[int, Unit("bit/s"), Field(ge=8_000)]
BufferMilliseconds = Annotated[float, MS, Field(gt=0, le=60_000, allow_inf_nan=False)]


class Source(Strict):
    """Where the figures come from."""

    citation: str = Field(description="what to cite")
    licence: str = Field(description="licence of the numbers")
    url: str | None = Field(default=None, description="where they are published")
    commit: str | None = Field(default=None, description="commit of the repository they were taken from")
    statistic: str | None = Field(
        default=None, description="what one number is: mean of ten pings, median over a month, ..."
    )


class Region(Strict):
    """One region, in which any number of nodes can run."""

    name: Annotated[str, Field(min_length=1)] = Field(description="what place: and the matrices call it")
    provider: str = Field(description="who operates it: aws, gcp, ...")
    note: str = Field(default="", description="for readers")


class BurstLossShares(Strict):
    """Loss that comes in bursts; see `fabric.BurstLoss` for the model."""

    p: Share = Field(description="probability per packet of going from the good state to the bad one", examples=[0.01])
    r: Share = Field(description="probability per packet of going back", examples=[0.25])
    loss_bad: Share = Field(default=1.0, description="share of packets lost in the bad state")
    loss_good: Share = Field(default=0.0, description="share of packets lost in the good state")

    def of_link(self) -> BurstLoss:
        return BurstLoss(self.p, self.r, self.loss_bad, self.loss_good)


class Topology(Strict):
    """See the module's docstring for what the numbers mean; all times are milliseconds."""

    name: str = Field(description="name of the topology; files of topologies/ are named by it")
    description: str = Field(description="what was measured, in a sentence or two")
    source: Source = Field(description="where the numbers come from")
    measured_on: date = Field(description="day of the measurement, as 2024-05-31")
    regions: Annotated[list[Region], Field(min_length=1)] = Field(
        description="the regions; of two, the one listed first is at the start of the forward direction"
    )
    rtt: dict[str, dict[str, Milliseconds]] = Field(
        alias="rtt_ms", description="from region: to region: round-trip time measured from there"
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
        order = self.region_names
        for name in (a, b):
            if name not in order:
                raise BadInput(f"topology {self.name}: no region {name!r}{nearest(name, order)}")
        if a == b:
            return self.intra_site_rtt_ms / 2
        return self.share(a, b) * self.rtt[a][b]

    def share(self, a: str, b: str) -> float:
        """Of a round trip measured from `a` to `b`, the part that the way there takes."""
        order = self.region_names
        return self.asymmetry if order.index(a) < order.index(b) else 1 - self.asymmetry

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
            figures[a][b] = figures[b][a] = float(value)
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
        raise_mistakes(self._misnamed())
        if self.symmetric:
            raise_mistakes(one for key, matrix in self._matrices() for one in self._mirror(key, matrix))
        raise_mistakes(self._incomplete())
        return self

    def _misnamed(self) -> Iterator[Mistake]:
        names = self.region_names
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Mistake(("regions", index, "name"), f"region {name!r} is listed twice")
        for key, matrix in self._matrices():
            places = [(key, a) for a in matrix] + [(key, a, b) for a, row in matrix.items() for b in row]
            for *at, name in places:
                if name not in names:
                    yield Mistake((*at, name), f"{key}: region {name!r} is not in regions{nearest(name, names)}")
            for own in (name for name, row in matrix.items() if name in row):
                yield Mistake((key, own, own), f"{key}: {own} -> {own} is one region; use intra_site_rtt_ms")

    def _incomplete(self) -> Iterator[Mistake]:
        names = self.region_names
        for a, b in ((a, b) for a in names for b in names if a != b):
            if b not in self.rtt.get(a, {}):
                fix = "" if self.symmetric else "; give both directions, or set symmetric: true"
                yield Mistake(("rtt_ms", a), f"rtt_ms: pair {a} -> {b} is missing{fix}")
            if self.loss.get(a, {}).get(b) and b in self.burst_loss.get(a, {}):
                message = f"burst_loss: {a} -> {b} has loss too; they exclude each other, remove one of them"
                yield Mistake(("burst_loss", a, b), message)
            if b in self.buffer_ms.get(a, {}) and b not in self.rate_bps.get(a, {}):
                message = f"buffer_ms: {a} -> {b} has no rate_bps, so the buffer would stay empty"
                yield Mistake(("buffer_ms", a, b), message)

    def _matrices(self) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
        yield "rtt_ms", self.rtt
        yield from self._effects()

    def _effects(self) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
        for effect in EFFECTS:
            yield effect.key, getattr(self, effect.key)

    @staticmethod
    def _mirror(key: str, matrix: dict[str, dict[str, Any]]) -> Iterator[Mistake]:
        given = [(a, b, value) for a, row in matrix.items() for b, value in row.items()]
        told: set[tuple[str, str]] = set()
        for a, b, value in given:
            if matrix.setdefault(b, {}).setdefault(a, value) != value and (b, a) not in told:
                told.add((a, b))
                yield Mistake((key, b, a), f"{key}: {b} -> {a} differs from {a} -> {b}, but symmetric is true")


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

        try:
            return Topology.model_validate(load_fields(*named))
        except ValidationError as error:
            raise BadInput(f"topology {shown(text)}: {complaints(error, Topology)[0].text}") from error
    path = name_or_path if isinstance(name_or_path, Path) else find(text, TOPOLOGY)
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: a topology is a mapping with the keys name, regions, rtt_ms, ...")
    try:
        return Topology.model_validate(data)
    except ValidationError as error:
        raise explain(error, path, lines, Topology) from error
