"""When the emulated device will have done a job, known as soon as the job is: the device's profile decides.

The same arithmetic as its pacing (`testbed.nodes.pacing`), with real passes that take no time. It orders the jobs of a
shared worker, and tells the run's clock what not to pass. Knows time only as numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.models.timing import Timed
from testbed.nodes.batches import model_of, pass_ms, passes_of, steps_of
from testbed.policies.api import DeviceJob, Draft, DraftBatch, DraftTree, VerifyBatch


def paced_ms(job: DeviceJob, profiles: Mapping[str, Timed], seed: int) -> list[float]:
    """Of each pass; profiles by what they are for, "target" and "draft". 0 for a device that is not paced.

    `seed`: of the device, where its pass times vary.
    """
    if isinstance(job, VerifyBatch | DraftBatch):
        profile = profiles[model_of(job)]
        return [
            pass_ms(job, one, profile) * profile.factor(seed, job.job, index)
            for index, one in enumerate(passes_of(job, profile))
        ]
    profile = profiles["draft" if isinstance(job, Draft | DraftTree) else "target"]
    feeds = [feed for step in steps_of(job, profile) for feed in step]
    return [
        profile.duration_ms(one.new, one.cached) * profile.factor(seed, job.job, index)
        for index, one in enumerate(feeds)
    ]


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
