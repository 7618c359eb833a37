"""Running estimates a role keeps of what it observes: round-trip times and step times."""

from __future__ import annotations

from collections import deque
from statistics import median


class RecentMedian:
    """Median of the last few samples: one latency spike does not move it. None before the first sample."""

    def __init__(self, window: int = 9) -> None:
        self._samples: deque[float] = deque(maxlen=window)
        self.value: float | None = None

    def add(self, sample: float) -> None:
        self._samples.append(sample)
        self.value = median(self._samples)

    @property
    def deviation(self) -> float:
        """Mean distance of the samples from their median; 0 before the first."""
        if self.value is None:
            return 0.0
        return sum(abs(sample - self.value) for sample in self._samples) / len(self._samples)


class MovingAverage:
    """Exponentially weighted mean; the first sample is taken as it is. None before it."""

    def __init__(self, weight: float = 0.2) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, sample: float) -> None:
        self.value = sample if self.value is None else self.value + self._weight * (sample - self.value)
