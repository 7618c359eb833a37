"""What an RTT trace holds, in one line per pair: for `testbed trace`. Quantiles are over time, as a link shows them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from testbed.network.spec.series import RttSeries, Sample


def summary(series: RttSeries) -> dict[str, Any]:
    """The whole series in one row."""
    quantiles = [of_time(samples, 0.5) for samples in series.pairs.values()]
    return {
        "name": series.name,
        "kind": series.about["kind"],
        "pairs": len(series.pairs),
        "seconds": series.seconds,
        "median_ms": f"{min(quantiles):g} to {max(quantiles):g}" if len(quantiles) > 1 else f"{quantiles[0]:g}",
        "max_ms": max(one.rtt_ms for samples in series.pairs.values() for one in samples),
        "licence": series.about["licence"].partition(",")[0],
    }


def pair_rows(series: RttSeries) -> list[dict[str, Any]]:
    """One row per pair."""
    return [
        {
            "src": src,
            "dst": dst,
            "values": len(samples),
            "min_ms": min(one.rtt_ms for one in samples),
            "median_ms": of_time(samples, 0.5),
            "p99_ms": of_time(samples, 0.99),
            "max_ms": max(one.rtt_ms for one in samples),
        }
        for (src, dst), samples in series.pairs.items()
    ]


def of_time(samples: Sequence[Sample], share: float) -> float:
    """The round trip that is not exceeded for this share of the time from the first to the last sample."""
    held = sorted((one.rtt_ms, then.time_s - one.time_s) for one, then in pairwise(samples))
    wanted = share * (samples[-1].time_s - samples[0].time_s)
    passed = 0.0
    for rtt_ms, seconds in held:
        passed += seconds
        if passed >= wanted:
            return rtt_ms
    return held[-1][0]  # rounding left the sum below the whole
