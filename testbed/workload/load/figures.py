"""What a load is like, in the figures that a profile states of its source and that a generator is judged by."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from testbed.workload.load.asked import Asked

KEYS = (
    "requests", "seconds", "input_p50", "input_p99", "output_p50", "output_p99", "gap_cv", "autocorrelation_1s",
    "autocorrelation_10s", "autocorrelation_60s",
)  # fmt: skip
KEY = re.compile(
    r"requests|seconds|gap_cv|(?P<side>input|output)_p(?P<percent>\d{1,2})|count_cv_(?P<cv_bin>\d+)s|"
    r"autocorrelation_(?P<bin>\d+)s(?:_lag(?P<lag>\d+))?"
)
TELLING = 20  # pairs of bins: fewer say nothing about correlation


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of ascending values, at least one; linear between neighbours."""
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def gap_cv(times_s: Sequence[float]) -> float | None:
    """Standard deviation of the gaps between arrivals over their mean; None below three arrivals, or all at once."""
    gaps = [later - earlier for earlier, later in pairwise(times_s)]
    if len(gaps) < 2 or not (mean := math.fsum(gaps) / len(gaps)):
        return None
    return math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean


class Bins(NamedTuple):
    """Arrivals in so many bins of equal length; of a long quiet time only those bins are held that have any."""

    number: int
    held: Counter[int]

    @classmethod
    def of(cls, times_s: Sequence[float], bin_s: float, begin_s: float, end_s: float) -> Bins:
        """The whole bins of a stretch of time."""
        number = max(0, math.floor((end_s - begin_s) / bin_s))
        places = (_bin(at_s, bin_s, begin_s) for at_s in times_s)
        return cls(number, Counter(place for place in places if 0 <= place < number))

    def spread(self, first: int, after: int) -> int:
        """Variance of the bins from `first` until before `after`, times their number squared."""
        inside = [count for place, count in self.held.items() if first <= place < after]
        return (after - first) * sum(count * count for count in inside) - sum(inside) ** 2


def _bin(at_s: float, bin_s: float, begin_s: float) -> int:
    """The last one that begins no later, as its beginning is computed."""
    place = math.floor((at_s - begin_s) / bin_s)
    if begin_s + bin_s * place > at_s:
        return place - 1
    return place + 1 if begin_s + bin_s * (place + 1) <= at_s else place


def autocorrelation(bins: Bins, lag: int = 1) -> float | None:
    """Between each bin and the one `lag` later (Pearson); None where nothing varies, or there are too few bins."""
    pairs = bins.number - lag
    if pairs < TELLING:
        return None
    spreads = bins.spread(0, pairs), bins.spread(lag, bins.number)
    if not all(spreads):
        return None
    before = sum(count for place, count in bins.held.items() if place < pairs)
    after = sum(count for place, count in bins.held.items() if place >= lag)
    both = sum(count * bins.held[place + lag] for place, count in bins.held.items() if place + lag in bins.held)
    return (pairs * both - before * after) / (math.sqrt(spreads[0]) * math.sqrt(spreads[1]))


def count_cv(bins: Bins) -> float | None:
    """Standard deviation over mean; None where there is nothing."""
    total = sum(bins.held.values())
    return math.sqrt(bins.spread(0, bins.number)) / total if total else None


def counts(times_s: Sequence[float], bin_s: float, begin_s: float, end_s: float) -> list[int]:
    """Arrivals in each whole bin of these ascending times."""
    edges = [begin_s + bin_s * number for number in range(math.floor((end_s - begin_s) / bin_s) + 1)]
    places = [bisect_left(times_s, edge) for edge in edges]
    return [later - earlier for earlier, later in pairwise(places)]


def figures(requests: Sequence[Asked], begin_s: float, end_s: float, keys: Iterable[str] = KEYS) -> dict[str, float]:
    """These figures of requests, earliest first; what is undefined is left out.

    Autocorrelations and `count_cv` are of arrivals counted in bins of the length that the key names.
    """
    times = [one.at_s for one in requests]
    lengths = {
        "input": sorted(one.input_tokens for one in requests),
        "output": sorted(one.output_tokens for one in requests),
    }

    def of(key: str) -> float | None:
        match = KEY.fullmatch(key)
        if match is None:
            raise ValueError(key)
        if side := match["side"]:
            return quantile(lengths[side], int(match["percent"]) / 100) if requests else None
        if bin_s := match["cv_bin"]:
            return count_cv(Bins.of(times, float(bin_s), begin_s, end_s))
        if bin_s := match["bin"]:
            return autocorrelation(Bins.of(times, float(bin_s), begin_s, end_s), int(match["lag"] or 1))
        return {"requests": len(requests), "seconds": end_s - begin_s}[key] if key != "gap_cv" else gap_cv(times)

    found = {key: of(key) for key in keys}
    return {key: round(value, 4) + 0.0 for key, value in found.items() if value is not None}
