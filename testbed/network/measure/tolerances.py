"""How far a measured link may be from its specification: one place, for links coming up and for judging a run."""

from __future__ import annotations

# The floor is what timers and a user-space relay add on an idle machine; 1 % keeps a long link as true as a short one.
LINK_MEDIAN_MS = 0.3
LINK_MEDIAN_SHARE = 0.01
# A shaper later than a quarter of a typical draft pass (about 8 ms) would move rounds, not only packets.
LINK_P99_MS = 2.0

# Beyond so many directed pairs of nodes, those that carry no message are probed a few times each, which is enough for
# a median and not for a 99th percentile: all 1056 pairs of 33 nodes, 200 probes each, would take three minutes a check.
MANY_PAIRS = 200

REPLAY_LATE_MS = 8.0  # a change of a link as late as one draft pass would be seen by the pass after the one it was for


def jitter_allowance_ms(jitter_ms: float, probes: int) -> tuple[float, float]:
    """What a link's own jitter adds to the tolerances of median and 99th percentile.

    `jitter_ms` is the sum of both directions' half-widths. A uniform spread's deviation is its half-width over root 3,
    a median's 1.25 of it over the root of the number; allowed are four of the latter.
    """
    return (4 * 1.2533 / 3**0.5 * jitter_ms / max(probes, 1) ** 0.5 if jitter_ms else 0.0), jitter_ms


def link_median_tolerance_ms(specified_ms: float) -> float:
    """Greatest distance of a pair's median RTT from its specified RTT."""
    return max(LINK_MEDIAN_MS, LINK_MEDIAN_SHARE * specified_ms)
