"""How far a measured link may be from its specification: one place, for links coming up and for judging a run."""

from __future__ import annotations

# The floor is what timers and a user-space relay add on an idle machine; 1 % keeps a long link as true as a short one.
LINK_MEDIAN_MS = 0.3
LINK_MEDIAN_SHARE = 0.01
# A shaper later than a quarter of a typical draft pass (about 8 ms) would move rounds, not only packets.
LINK_P99_MS = 2.0


def link_median_tolerance_ms(specified_ms: float) -> float:
    """Greatest distance of a pair's median RTT from its specified RTT."""
    return max(LINK_MEDIAN_MS, LINK_MEDIAN_SHARE * specified_ms)
