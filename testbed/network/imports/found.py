"""What an importer finds in a file: figures of directed pairs, or their round trips over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from statistics import median

from testbed.errors import BadInput
from testbed.network.spec.fabric import Pair
from testbed.network.spec.source import FigureKind


@dataclass(frozen=True)
class Options:
    """What the caller says of the file, since it does not say so itself."""

    unit: str | None = None  # of figures without one
    decimal: str | None = None  # "comma" or "point"
    statistic: str | None = None  # the column or key to take
    zeros: str | None = None  # "missing": a figure of 0 between two regions is none
    repeats: str | None = None  # "median": of a pair with several figures
    rows: str | None = None  # "to": rows of a matrix are where round trips go to
    src: str | None = None  # who measured
    dst: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # of the regions of a matrix that has none
    interval_s: float | None = None  # between two pings that carry no time

    def named(self, name: str) -> str:
        return self.rename.get(name, name)


@dataclass(frozen=True)
class Found:
    """Figures in milliseconds by directed pair. `notes`: what was left out, changed or chosen, for whoever imports."""

    rtt_ms: Mapping[Pair, float]
    kind: FigureKind
    statistic: str
    loss: Mapping[Pair, float] = field(default_factory=dict)  # one way
    jitter_ms: Mapping[Pair, float] = field(default_factory=dict)
    reorder: Mapping[Pair, float] = field(default_factory=dict)
    rate_bps: Mapping[Pair, int] = field(default_factory=dict)
    inside_ms: tuple[float, ...] = ()  # round trips inside one region
    positions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    measured_on: date | None = None
    notes: tuple[str, ...] = ()

    @property
    def regions(self) -> list[str]:
        return list(dict.fromkeys(one for pair in self.rtt_ms for one in pair))

    def gaps(self) -> list[str]:
        """What the topology will say of pairs without a figure."""
        names = self.regions
        one_way = sum((b, a) not in self.rtt_ms for a, b in self.rtt_ms)
        both = [(a, b) for a in names for b in names if a < b and not {(a, b), (b, a)} & self.rtt_ms.keys()]
        told = [f"{one_way} pairs have a figure in one direction, which counts for both"] if one_way else []
        if both:
            told.append(f"{len(both)} pairs without any figure, as {both[0][0]} and {both[0][1]}, have no link")
        return told


@dataclass
class RoundTrips:
    """Of one directed pair: round trips with the second they were sent at, and None for those that were lost."""

    samples: list[tuple[float, float | None]] = field(default_factory=list)
    line: int = 1  # where the file begins to tell of this pair
    timed: bool = False  # seconds are of the clock, not counted
    mean_ms: float | None = None  # where the file has no single round trips
    sent: int | None = None  # as the file sums up
    received: int | None = None

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.samples if value is not None]

    @property
    def loss(self) -> float:
        """Share of round trips that did not come back."""
        if self.sent:
            return max(0.0, 1 - (self.received or 0) / self.sent)
        return 0.0 if not self.samples else 1 - len(self.values) / len(self.samples)

    @property
    def typical_ms(self) -> float | None:
        """The median, or the mean where that is all there is; None if nothing came back."""
        return median(self.values) if self.values else self.mean_ms


def one_way_loss(round_trip: float) -> float:
    """Of a loss that takes either way with the same probability."""
    return float(round(1 - (1 - round_trip) ** 0.5, 9))


def figures_of(trips: Mapping[Pair, RoundTrips], where: str, statistic: str, notes: tuple[str, ...] = ()) -> Found:
    """Of each pair the median, and the loss. Raises BadInput for a pair of which nothing came back."""
    rtt, loss, means = {}, {}, 0
    for (a, b), one in trips.items():
        typical = one.typical_ms
        if typical is None:
            raise BadInput(f"{where}:{one.line}: {a} -> {b}: no reply, so there is no figure; remove this measurement")
        means += one.values == []
        rtt[a, b] = round(typical, 6)
        if one.loss:
            loss[a, b] = one_way_loss(one.loss)
    if means:
        notes += (f"{means} pair{'s' if means > 1 else ''} with a mean only: no single round trips in the file",)
    if loss:
        notes += (f"loss on {len(loss)} of {len(rtt)} pairs, taken as equal in both directions of a round trip",)
    return Found(rtt, "public_ping", statistic, loss=loss, notes=notes)
