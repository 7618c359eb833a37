"""Whether a process's memory and descriptors stayed flat over a soak. Pure.

Judged is the trend of anonymous memory (heap and stacks): the least-squares line's rise over the time looked at, as a
share of the median; and the most descriptors held at once, which must be as many late as early: a node has one more
while it has a role. Resident memory is reported too, but the kernel drops pages of files and reads them again as it
likes; and so is the largest distance of any one sample from the median.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.bench.processes import Held

ALLOWED = 0.02  # of the median
MIN_SAMPLES = 5


@dataclass(frozen=True)
class Trend:
    """One quantity of one process after its warm-up."""

    median: float
    rise: float  # of the fitted line, from the first sample to the last
    most_off: float  # any sample's distance from the median

    @property
    def share(self) -> float:
        return self._of_median(self.rise)

    @property
    def off_share(self) -> float:
        return self._of_median(self.most_off)

    def _of_median(self, value: float) -> float:
        return value / self.median if self.median else 0.0


@dataclass(frozen=True)
class Verdict:
    """One process over the soak."""

    name: str
    pid: int
    seconds: float  # looked at, after the warm-up
    samples: int
    rss_kb: Trend
    pss_kb: Trend
    anonymous_kb: Trend
    descriptors: Trend
    threads: Trend
    most_descriptors: tuple[int, int]  # in the earlier half, in the later half
    cpu_share: float  # of a core

    @property
    def flat(self) -> bool:
        early, late = self.most_descriptors
        return abs(self.anonymous_kb.share) <= ALLOWED and late <= early


def judge(name: str, pid: int, samples: Sequence[Held], warm_up_s: float) -> Verdict | None:
    """None for a process that did not live long enough to say. One that lives shortly is warm after half its life."""
    if not samples:
        return None
    warm_s = samples[0].at_s + min(warm_up_s, (samples[-1].at_s - samples[0].at_s) / 2)
    kept = [one for one in samples if one.at_s >= warm_s]
    if len(kept) < MIN_SAMPLES:
        return None
    early, late = kept[: len(kept) // 2], kept[len(kept) // 2 :]
    seconds = kept[-1].at_s - kept[0].at_s

    def trend(of: Callable[[Held], float]) -> Trend:
        return trend_of([one.at_s for one in kept], [of(one) for one in kept])

    return Verdict(
        name,
        pid,
        seconds,
        len(kept),
        trend(lambda one: one.rss_kb),
        trend(lambda one: one.pss_kb),
        trend(lambda one: one.anonymous_kb),
        trend(lambda one: one.descriptors),
        trend(lambda one: one.threads),
        (max(one.descriptors for one in early), max(one.descriptors for one in late)),
        (kept[-1].cpu_s - kept[0].cpu_s) / seconds if seconds else 0.0,
    )


def trend_of(times: Sequence[float], values: Sequence[float]) -> Trend:
    middle = statistics.median(values)
    slope = statistics.linear_regression(times, values).slope if len(set(times)) > 1 else 0.0
    return Trend(middle, slope * (times[-1] - times[0]), max(abs(value - middle) for value in values))
