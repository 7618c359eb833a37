"""The expected round trips of probes over two links with random effects: their distribution.

Of a plain link one number is expected. With jitter, reordering, a rate or loss it is a law, and a check that compares
with one number would call a right link wrong: half of all packets reordered brings the median down by half, a rate adds
the time its bits take. Here is what the median may be then, how long the longest is, and how many probes come back.

Rule kept: bounds follow from the specification and the number of probes alone, never from what was measured. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

# A probe on the wire: `probe_process.PACKET` (33 bytes) in UDP, IPv4 and Ethernet, as the rate stages count it.
PROBE_BYTES = 33 + 8 + 20 + 14
# A link with a rate carries the probes of both its directions; they may take this share of it, all together.
PROBES_SHARE = 0.25
SIGMAS = 4.0  # of the share of probes below the median
STEPS = 48  # of a uniform spread, each as probable as the others
NEVER = 1e-6  # what is less probable does not happen
P99_PROBES = 100  # fewer have no 99th percentile


@dataclass(frozen=True)
class Leg:
    """One direction, as its packets meet it."""

    one_way_ms: float
    jitter_ms: float = 0.0
    reorder: float = 0.0
    rate_bps: int | None = None
    loss: float = 0.0  # share of packets, over the long run
    memory: float = 1.0  # of losses: 1 if each is for itself, less for bursts

    @property
    def plain(self) -> bool:
        """One number is to be expected; a spread that never meets 0 only makes it less certain."""
        return not (self.reorder or self.rate_bps or self.loss or self.jitter_ms > self.one_way_ms)

    @property
    def bits_ms(self) -> float:
        """Time that a probe's bits take."""
        return 0.0 if self.rate_bps is None else PROBE_BYTES * 8e3 / self.rate_bps

    def points(self) -> list[tuple[float, float]]:
        """(delay, share) of what becomes of a packet."""
        delays = [self.one_way_ms]
        if self.jitter_ms:
            spread = ((2 * step + 1) / STEPS - 1 for step in range(STEPS))
            delays = [max(0.0, self.one_way_ms + share * self.jitter_ms) for share in spread]
        at_once = [(0.0, self.reorder)] if self.reorder else []
        return at_once + [(delay, (1 - self.reorder) / len(delays)) for delay in delays if self.reorder < 1]


@dataclass(frozen=True)
class Expected:
    """Of one pair and so many probes. The median's bounds are before any tolerance of the machine."""

    least_median_ms: float
    most_median_ms: float
    longest_ms: float
    returning: float  # probes that come back, in the mean
    fewest: float  # as few as chance may let come back

    @property
    def may_all_be_lost(self) -> bool:
        return self.fewest < 1.0

    @property
    def has_p99(self) -> bool:
        return self.fewest >= P99_PROBES

    @property
    def about(self) -> str:
        if self.most_median_ms - self.least_median_ms < 0.005:
            return f"{self.least_median_ms:.2f} ms"
        return f"{self.least_median_ms:.2f} to {self.most_median_ms:.2f} ms"


@cache
def expected(there: Leg, back: Leg, probes: int) -> Expected:
    comes_back = (1 - there.loss) * (1 - back.loss)
    returning = probes * comes_back
    independent = min(there.memory, back.memory)
    spread = SIGMAS * (returning * (1 - comes_back) / independent) ** 0.5
    fewest = max(0.0, returning - spread)
    if (1 - comes_back) ** (probes * independent) < NEVER:
        fewest = max(fewest, 1.0)
    sums = sorted((a + b, share_a * share_b) for (a, share_a), (b, share_b) in product(there.points(), back.points()))
    off = SIGMAS * 0.5 / max(1.0, fewest) ** 0.5
    bits_ms = there.bits_ms + back.bits_ms
    return Expected(
        _quantile(sums, 0.5 - off) + bits_ms,
        _quantile(sums, 0.5 + off) + 2 * bits_ms,  # each way behind another pair's probe
        sums[-1][0] + 2 * bits_ms,
        returning,
        fewest,
    )


def _quantile(points: list[tuple[float, float]], share: float) -> float:
    below = 0.0
    for value, own in points:
        below += own
        if below >= share:
            return value
    return points[-1][0]


def interval_s(shortest_s: float, slowest_bps: int | None) -> float:
    """Between two probes of one pair, so that they leave most of the slowest link to others."""
    if slowest_bps is None:
        return shortest_s
    return max(shortest_s, 2 * PROBE_BYTES * 8 / (PROBES_SHARE * slowest_bps))  # the other direction's echoes as well


def burst_share(p: float, r: float, loss_bad: float = 1.0, loss_good: float = 0.0) -> tuple[float, float]:
    """Of a Gilbert-Elliott chain: the share it loses over the long run, and how independent its losses are."""
    moves = p + r
    bad = p / moves if moves else 0.0
    # losses correlate as (1 - p - r)^k, which makes a sum's variance (2 - p - r) / (p + r) times as large
    memory = moves / (2 - moves) if moves < 1 else 1.0
    return bad * loss_bad + (1 - bad) * loss_good, max(memory, 1e-3)
