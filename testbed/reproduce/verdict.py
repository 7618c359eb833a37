"""Whether our value lies in the paper's range, and how sure that is among all values that are judged together.

Rule kept: a value with a 95 % interval is tested once, in the direction of what it seems: outside, that it lies beyond
the nearer end of the range; inside, that it lies beyond neither. p values come from a normal law whose spread is the
interval's on the side that faces the end, and are corrected for the whole family (Holm). The middle half of several
points is no such interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from testbed.reproduce.claims import Value
from testbed.reproduce.value import AT_LEAST, Ours
from testbed.results.equivalence import LEVEL, holm

NORMAL = NormalDist()
END = NORMAL.inv_cdf(0.975)  # spreads from the middle to an end of a 95 % interval


@dataclass(frozen=True)
class Verdict:
    """`within` is None where it cannot be said; `p` and `corrected` are None where there is nothing to test with."""

    within: bool | None
    p: float | None = None
    corrected: float | None = None

    @property
    def sure(self) -> bool:
        return self.corrected is not None and self.corrected < LEVEL


def verdicts(judged: Sequence[tuple[Ours, Value]]) -> list[Verdict]:
    """Of one family, in the order given."""
    alone = [Verdict(within(ours, value), _p(ours, value)) for ours, value in judged]
    corrected = iter(holm([one.p for one in alone if one.p is not None]))
    return [one if one.p is None else Verdict(one.within, one.p, next(corrected)) for one in alone]


def within(ours: Ours, value: Value) -> bool | None:
    """Whether our number lies in the paper's range; None where either is not known."""
    if value.range is None or ours.number is None:
        return None
    low, high = value.range
    if ours.bound:  # decided only where the bound already lies outside
        outside = ours.number > high if ours.bound == AT_LEAST else ours.number < low
        return False if outside else None
    return low <= ours.number <= high


def _p(ours: Ours, value: Value) -> float | None:
    inside = within(ours, value)
    if inside is None or ours.bound or ours.interval is None or ours.spread:
        return None
    assert value.range is not None and ours.number is not None
    (low, high), number = value.range, ours.number
    below, above = number - ours.interval[0], ours.interval[1] - number  # what the value may be less, or more
    if inside:
        return max(_tail(number - low, below), _tail(high - number, above))
    return min(1.0, 2 * (_tail(number - high, below) if number > high else _tail(low - number, above)))


def _tail(distance: float, half: float) -> float:
    """The chance of so much more than expected, in a law whose 95 % interval has this half."""
    if half <= 0:
        return 0.0 if distance > 0 else 0.5
    return 1 - NORMAL.cdf(distance / (half / END))
