"""When the emulated device will have done a job, known as soon as the job is: the device's profile decides.

The same arithmetic as its pacing (`testbed.nodes.pacing`), with real passes that take no time. It orders the jobs of a
shared worker, and tells the run's clock what not to pass. Knows time only as numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from testbed.models.cut import cut
from testbed.models.timing import Timed
from testbed.nodes.batches import feeds_of
from testbed.policies.api import DeviceJob, Draft, DraftTree, Verify, VerifyBatch, VerifyTree


def paced_ms(job: DeviceJob, profiles: Mapping[str, Timed], seed: int) -> list[float]:
    """Of each pass; profiles by what they are for, "target" and "draft". 0 for a device that is not paced.

    `seed`: of the device, where its pass times vary.
    """
    match job:
        case Draft():
            first, feeds = job.position, [*cut(len(job.tokens), job.most), *[1] * (job.steps - 1)]
        case DraftTree():
            first, feeds = job.position + len(job.tokens) + len(job.nodes) - job.fresh, cut(job.fresh, job.most)
        case Verify():
            first, feeds = job.position, [len(job.tokens)]
        case VerifyTree():
            first, feeds = job.position + len(job.tokens) + len(job.nodes) - job.fresh, [job.fresh]
        case VerifyBatch():
            target = profiles["target"]
            return [target.batch_ms(feeds_of(job)) * target.factor(seed, job.job, 0)]
        case _:
            assert_never(job)
    profile = profiles["draft" if isinstance(job, Draft | DraftTree) else "target"]
    durations = []
    for index, size in enumerate(size for feed in feeds for size in profile.passes(feed)):
        durations.append(profile.duration_ms(size, first) * profile.factor(seed, job.job, index))
        first += size
    return durations


class ExpectedDues:
    """One device's queue, as its node sees it."""

    def __init__(self, profiles: Mapping[str, Timed]) -> None:
        self._profiles = profiles
        self._free_ns = 0

    def put(self, job: DeviceJob, submitted_ns: int, seed: int) -> int | None:
        """When the job is due; None where the real pass decides."""
        durations = paced_ms(job, self._profiles, seed)
        if not all(durations):
            return None
        self._free_ns = max(submitted_ns, self._free_ns) + sum(round(one * 1e6) for one in durations)
        return self._free_ns

    @property
    def free_ns(self) -> int:
        """When the device will have done what was put so far."""
        return self._free_ns

    def done(self, finished_ns: int) -> None:
        """A job is: the device was not free earlier than that."""
        self._free_ns = max(self._free_ns, finished_ns)
