"""What one node's target device can take: tokens cached by all requests together, and tokens in one pass.

Rule kept: both are bounded as on the profiled device, in both engines, and never in silence. A policy is told the
limits and lets requests wait; one that asks for more ends the run by name.
Draft models are not counted: profiles give the capacity beside the target's weights alone.
"""

from __future__ import annotations

from typing import assert_never

from testbed.errors import RunInvalid
from testbed.models.devices import DeviceProfile
from testbed.models.profiled import profiled_passes
from testbed.nodes.batches import feeds_of
from testbed.policies.api import DeviceLimits, TargetJob, Verify, VerifyBatch, VerifyTree
from testbed.workload.background import Background


def limits_of(profile: DeviceProfile, background: Background | None = None) -> DeviceLimits:
    """What the role that runs the target there is told; memory of other tenants is not its to use."""
    capacity = profile.kv_capacity_tokens
    if capacity is not None and background is not None and background.model == "target":
        capacity -= int(capacity * background.kv_share)
    if profile.native:
        return DeviceLimits(capacity)
    return DeviceLimits(capacity, profile.max_pass_tokens, profiled_passes(profile))


class Capacity:
    """Cached tokens by request, counted from the jobs; `held` is their sum."""

    def __init__(self, node: str, limits: DeviceLimits) -> None:
        self.held = 0
        self._node = node
        self._limits = limits
        self._tokens: dict[int, int] = {}

    def take(self, job: TargetJob) -> None:
        """Counts what is cached once the job's tokens are in. Raises RunInvalid for what the device cannot take."""
        if isinstance(job, VerifyBatch):
            self._check_pass(job)
            for member in job.members:
                self._cache(member)
        elif isinstance(job, Verify | VerifyTree):
            self._cache(job)
        else:
            assert_never(job)
        most = self._limits.kv_capacity_tokens
        if most is not None and self.held > most:
            raise RunInvalid(
                f"{self._node}: {len(self._tokens)} requests cache {self.held} tokens, but the device's key-value "
                f"memory holds {most}; use a policy that queues requests, fewer users or shorter requests"
            )

    def release(self, request: int) -> None:
        """Forget a request, known or not."""
        self.held -= self._tokens.pop(request, 0)

    def _cache(self, job: Verify | VerifyTree) -> None:
        nodes = len(job.nodes) if isinstance(job, VerifyTree) else 0
        self._hold(job.request, job.position + len(job.tokens) + nodes)

    def _hold(self, request: int, tokens: int) -> None:
        self.held += tokens - self._tokens.get(request, 0)
        self._tokens[request] = tokens

    def _check_pass(self, job: VerifyBatch) -> None:
        total, most = sum(one.new for one in feeds_of(job)), self._limits.max_pass_tokens
        if most is not None and total > most:
            raise RunInvalid(
                f"{self._node}: a batch of {len(job.members)} requests feeds {total} tokens, but the device takes "
                f"{most} per pass; lower the policy's batch size or token budget"
            )
