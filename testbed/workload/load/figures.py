"""What a load is like, in the figures that a profile states of its source and that a generator is judged by."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

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


def autocorrelation(counts: Sequence[float], lag: int = 1) -> float | None:
    """Between each bin and the one `lag` later (Pearson); None where nothing varies, or there are too few bins."""
    before, after = counts[:-lag], counts[lag:]
    if len(before) < TELLING:
        return None
    means = math.fsum(before) / len(before), math.fsum(after) / len(after)
    ones, others = [one - means[0] for one in before], [one - means[1] for one in after]
    spread = math.sqrt(math.fsum(one * one for one in ones) * math.fsum(other * other for other in others))
    return math.fsum(one * other for one, other in zip(ones, others, strict=True)) / spread if spread else None


def count_cv(counts: Sequence[float]) -> float | None:
    """Standard deviation over mean; None where there is nothing."""
    mean = math.fsum(counts) / len(counts) if counts else 0.0
    return math.sqrt(math.fsum((one - mean) ** 2 for one in counts) / len(counts)) / mean if mean else None


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
            return count_cv(counts(times, float(bin_s), begin_s, end_s))
        if bin_s := match["bin"]:
            return autocorrelation(counts(times, float(bin_s), begin_s, end_s), int(match["lag"] or 1))
        return {"requests": len(requests), "seconds": end_s - begin_s}[key] if key != "gap_cv" else gap_cv(times)

    found = {key: of(key) for key in keys}
    return {key: round(value, 4) for key, value in found.items() if value is not None}
