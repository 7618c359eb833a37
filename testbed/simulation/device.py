"""The emulated device in virtual time: one queue, whose passes take what the device profile says.

Rule kept: the arithmetic is that of `testbed.nodes.pacing.DeviceClock` with real passes that take no time: a job starts
when it is submitted or when the device is free, its passes follow one another, and nothing overruns. What the passes
compute comes from a decode table (`testbed.models.replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile
from testbed.nodes.jobs import PassRecord
from testbed.policies.api import Draft, DraftReady, Verify, VerifyReady
from testbed.simulation.kernel import Kernel

NS_PER_MS = 1_000_000

Answered = Callable[[tuple[Draft | Verify, int, DraftReady | VerifyReady, list[PassRecord]]], Any]


class Models(Protocol):
    """What drafts and verdicts would be. Every pass feeds its tokens; `duration_ms` is what the device took."""

    def draft(self, job: Draft, duration_ms: float) -> DraftReady: ...

    def verify(self, job: Verify, duration_ms: float) -> VerifyReady: ...

    def release(self, request: int) -> None: ...


class PassTimes:
    """One model on one device: feeds cut into passes, and how long each pass takes."""

    def __init__(self, profile: DeviceProfile) -> None:
        if profile.native:
            raise BadInput(
                "devices: 'native' has no profile to take times from, so it cannot be simulated; "
                "name a device profile, for example l40s/llama-3.1-8b"
            )
        self._profile = profile
        self._known: dict[int, list[tuple[int, float, int]]] = {}

    def of(self, tokens: int) -> list[tuple[int, float, int]]:
        """(tokens, milliseconds, nanoseconds) of each pass that a feed of `tokens` becomes."""
        passes = self._known.get(tokens)
        if passes is None:
            profile = self._profile
            durations = [(size, profile.duration_ms(size)) for size in profile.passes(tokens)]
            passes = [(size, ms, round(ms * NS_PER_MS)) for size, ms in durations]
            self._known[tokens] = passes
        return passes


class VirtualDevice:
    """A node's device with its models. `overhead_ns` passes between the end of a job and its role hearing of it."""

    def __init__(
        self, kernel: Kernel, models: Models, profiles: Mapping[str, DeviceProfile], overhead_ns: int = 0
    ) -> None:
        self._kernel = kernel
        self._models = models
        self._target = PassTimes(profiles["target"])
        self._draft = PassTimes(profiles["draft"])
        self._overhead_ns = overhead_ns
        self._free_ns = 0

    def submit(self, job: Draft | Verify, answered: Answered) -> None:
        """Runs the job after those before it; `answered` gets (job, submitted_ns, result, passes) when it is done."""
        submitted_ns = self._kernel.now_ns
        free_ns = self._free_ns
        at_ns = started_ns = submitted_ns if submitted_ns > free_ns else free_ns
        position = job.position
        passes: list[PassRecord] = []
        ready: DraftReady | VerifyReady
        times = (self._draft if type(job) is Draft else self._target).of(len(job.tokens))
        for size, ms, duration_ns in times:
            passes.append(PassRecord(at_ns, at_ns + duration_ns, ms, 0.0, 0.0, position, size))
            at_ns += duration_ns
            position += size
        if type(job) is Draft:
            for _ in range(job.steps - 1):  # each further step feeds the token drafted before it
                for size, ms, duration_ns in self._draft.of(1):
                    passes.append(PassRecord(at_ns, at_ns + duration_ns, ms, 0.0, 0.0, position, size))
                    at_ns += duration_ns
                    position += size
            ready = self._models.draft(job, (at_ns - started_ns) / NS_PER_MS)
        else:
            assert type(job) is Verify
            ready = self._models.verify(job, (at_ns - started_ns) / NS_PER_MS)
        self._free_ns = at_ns
        self._kernel.at(at_ns + self._overhead_ns, answered, (job, submitted_ns, ready, passes))

    def release(self, request: int) -> None:
        self._models.release(request)
