"""How late the relay's packets left: a histogram of fixed size, so that a long run costs no memory.

Resolution is one microsecond up to ten milliseconds; later packets share the last bin, but the maximum is exact.
"""

from __future__ import annotations

BIN_NS = 1_000
BINS = 10_000


class Lateness:
    """Collects actual minus due departure time, in nanoseconds."""

    def __init__(self) -> None:
        self._bins = [0] * (BINS + 1)
        self._max_ns = 0

    def add(self, late_ns: int) -> None:
        late_ns = max(late_ns, 0)
        self._bins[min(late_ns // BIN_NS, BINS)] += 1
        if late_ns > self._max_ns:
            self._max_ns = late_ns

    def quantile_us(self, share: float) -> float | None:
        """Upper edge of the bin that holds the quantile; None before the first packet."""
        total = sum(self._bins)
        seen = 0
        for index, count in enumerate(self._bins):
            seen += count
            if seen and seen >= share * total:
                return self._max_ns / 1e3 if index == BINS else min((index + 1) * BIN_NS, self._max_ns) / 1e3
        return None

    def summary(self) -> dict[str, float | int | None]:
        total = sum(self._bins)
        return {
            "packets": total,
            "median_us": self.quantile_us(0.5),
            "p99_us": self.quantile_us(0.99),
            "max_us": self._max_ns / 1e3 if total else None,
        }
