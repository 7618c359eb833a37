"""The emulated device without models: one queue, whose passes take what the device profile says.

The simulation runs it in virtual time, a node whose answers are recorded on the run's clock.

Rule kept: the arithmetic is that of `testbed.nodes.pacing.DeviceClock` with real passes that take no time: a job starts
when it is submitted or when the device is free, its passes follow one another, and nothing overruns. What the passes
compute comes from a decode table (`testbed.tables.replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Protocol

from testbed.errors import BadInput
from testbed.models.cut import cut
from testbed.models.timing import Timed
from testbed.nodes.batches import Span, member_records, pass_ms, passes_of
from testbed.nodes.jobs import PassRecord
from testbed.nodes.tenants import ALONE, Alone
from testbed.policies.api import (
    BatchReady,
    DeviceJob,
    DeviceSample,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftReady,
    DraftTree,
    JobDone,
    TreeDraftReady,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)
from testbed.system.units import NS_PER_MS

Times = Callable[[int, int], list[tuple[int, float, int]]]  # tokens and cached tokens, as `PassTimes.of`
Answered = Callable[[tuple[DeviceJob, int, JobDone, list[PassRecord]]], Any]


class Timeline(Protocol):
    """The present, and calls at later times: a simulation's kernel, or a node's event loop."""

    @property
    def now_ns(self) -> int: ...

    def at(self, at_ns: int, call: Callable[[Any], object], argument: Any, /) -> object: ...


class Models(Protocol):
    """What drafts and verdicts would be. Every pass feeds its tokens; `duration_ms` is what the device took."""

    def draft(self, job: Draft, duration_ms: float) -> DraftReady: ...

    def verify(self, job: Verify, duration_ms: float) -> VerifyReady: ...

    def draft_tree(self, job: DraftTree, duration_ms: float) -> TreeDraftReady: ...

    def verify_tree(self, job: VerifyTree, duration_ms: float) -> VerifyReady: ...

    def release(self, request: int) -> None: ...


class PassTimes:
    """One model on one device: feeds cut into passes, and how long each pass takes."""

    def __init__(self, profile: Timed) -> None:
        if profile.native:
            raise BadInput(
                "devices: 'native' has no pass times, so it cannot be simulated; use a device profile, for example "
                "l40s/llama-3.1-8b"
            )
        self.profile = profile
        self._steady = profile.varies is None
        self._by_tokens = profile.by_tokens_alone
        self._known: dict[int, list[tuple[int, float, int]]] = {}

    def of(self, tokens: int, cached: int = 0) -> list[tuple[int, float, int]]:
        """(tokens, milliseconds, nanoseconds) of each pass that a feed of `tokens` after `cached` ones becomes."""
        if not self._by_tokens:
            return self._of(tokens, cached)
        passes = self._known.get(tokens)
        if passes is None:
            passes = self._known[tokens] = self._of(tokens, cached)
        return passes

    def of_job(self, seed: int, job: int) -> Times:
        """As `of` for the feeds of one job, in order; where passes vary, each with its own factor."""
        if self._steady:
            return self.of
        numbers = count()

        def of(tokens: int, cached: int = 0) -> list[tuple[int, float, int]]:
            return self._of(tokens, cached, lambda: self.profile.factor(seed, job, next(numbers)))

        return of

    def _of(self, tokens: int, cached: int, factor: Callable[[], float] = lambda: 1.0) -> list[tuple[int, float, int]]:
        passes = []
        for size in self.profile.passes(tokens):
            ms = self.profile.duration_ms(size, cached) * factor()
            passes.append((size, ms, round(ms * NS_PER_MS)))
            cached += size
        return passes


class VirtualDevice:
    """A node's device with its models. `overhead_ns` passes between the end of a job and its role hearing of it.

    `detailed`: records of passes are wanted, of a batch one a member. `seed`: of the device's draws in this trial.
    `tenants`: others in its queue.
    """

    def __init__(
        self,
        kernel: Timeline,
        models: Models,
        profiles: Mapping[str, Timed],
        overhead_ns: int = 0,
        detailed: bool = True,
        seed: int = 0,
        tenants: Alone = ALONE,
    ) -> None:
        self._tenants = tenants
        self._seed = seed
        self._kernel = kernel
        self._models = models
        self._target = PassTimes(profiles["target"])
        self._draft = PassTimes(profiles["draft"])
        self._overhead_ns = overhead_ns
        self._detailed = detailed
        self._free_ns = 0

    def sample(self) -> DeviceSample | None:
        """What others did with the device since the last sample; None where it is not shared."""
        return self._tenants.sample(self._kernel.now_ns, self._free_ns)

    def submit(self, job: DeviceJob, answered: Answered) -> None:
        """Runs the job after those before it; `answered` gets (job, submitted_ns, result, passes) when it is done."""
        if type(job) is VerifyBatch or type(job) is DraftBatch:
            self._submit_batch(job, answered)
            return
        if type(job) is DraftTree or type(job) is VerifyTree:
            self._submit_tree(job, answered)
            return
        assert type(job) is Draft or type(job) is Verify
        submitted_ns = self._kernel.now_ns
        at_ns = started_ns = self._tenants.start(submitted_ns, self._free_ns)
        fed = len(job.tokens)
        passes: list[PassRecord] = []
        ready: DraftReady | VerifyReady
        if type(job) is Draft:
            times = self._draft.of_job(self._seed, job.job)
            at_ns = self._passes(times, fed, job.most, job.position, at_ns, passes)
            for step in range(job.steps - 1):  # each further step feeds the token drafted before it
                at_ns = self._passes(times, 1, 0, job.position + fed + step, at_ns, passes)
            ready = self._models.draft(job, (at_ns - started_ns) / NS_PER_MS)
        else:
            assert type(job) is Verify
            times = self._target.of_job(self._seed, job.job)
            at_ns = self._passes(times, fed, 0, job.position, at_ns, passes)
            ready = self._models.verify(job, (at_ns - started_ns) / NS_PER_MS)
        self._free_ns = at_ns
        self._kernel.at(at_ns + self._overhead_ns, answered, (job, submitted_ns, ready, passes))

    def _passes(self, times: Times, tokens: int, most: int, position: int, at_ns: int, passes: list[PassRecord]) -> int:
        """When passes end that feed `tokens`, no more than `most` each (0: what the device takes), from `at_ns` on."""
        for feed in cut(tokens, most) if most else (tokens,):
            for size, ms, duration_ns in times(feed, position):
                ended_ns = at_ns + duration_ns
                if self._detailed:
                    passes.append(PassRecord(at_ns, ended_ns, ms, 0.0, 0.0, position, size))
                at_ns = ended_ns
                position += size
        return at_ns

    def _submit_batch(self, job: VerifyBatch | DraftBatch, answered: Answered) -> None:
        """Its passes are of all members that take part in them."""
        submitted_ns = self._kernel.now_ns
        at_ns = started_ns = self._tenants.start(submitted_ns, self._free_ns)
        profile = (self._target if type(job) is VerifyBatch else self._draft).profile
        passes = passes_of(job, profile)
        spans: list[Span] = []
        for index, one in enumerate(passes):
            factor = profile.factor(self._seed, job.job, index)
            ms = pass_ms(job, one, profile) * factor
            ended_ns = at_ns + round(ms * NS_PER_MS)
            spans.append(Span(at_ns, ended_ns, ms, 0.0, 0.0, factor))
            at_ns = ended_ns
        self._free_ns = at_ns
        duration_ms = (at_ns - started_ns) / NS_PER_MS
        ready: JobDone
        if type(job) is VerifyBatch:
            ready = BatchReady(job.job, tuple(self._verdict(one, duration_ms) for one in job.members), duration_ms)
        else:
            assert type(job) is DraftBatch
            drafted = tuple(self._drafted(one, duration_ms) for one in job.members)
            ready = DraftBatchReady(job.job, drafted, duration_ms)
        records = list(member_records(passes, spans, profile)) if self._detailed else []
        self._kernel.at(at_ns + self._overhead_ns, answered, (job, submitted_ns, ready, records))

    def _verdict(self, job: Verify | VerifyTree, duration_ms: float) -> VerifyReady:
        if type(job) is VerifyTree:
            return self._models.verify_tree(job, duration_ms)
        assert type(job) is Verify
        return self._models.verify(job, duration_ms)

    def _drafted(self, job: Draft | DraftTree, duration_ms: float) -> DraftReady | TreeDraftReady:
        if type(job) is DraftTree:
            return self._models.draft_tree(job, duration_ms)
        assert type(job) is Draft
        return self._models.draft(job, duration_ms)

    def _submit_tree(self, job: DraftTree | VerifyTree, answered: Answered) -> None:
        """As a device that keeps trees in its cache: a pass takes what its fresh tokens take."""
        submitted_ns = self._kernel.now_ns
        at_ns = started_ns = self._tenants.start(submitted_ns, self._free_ns)
        model = self._draft if type(job) is DraftTree else self._target
        times, most = model.of_job(self._seed, job.job), job.most if type(job) is DraftTree else 0
        position = job.position + len(job.tokens) + len(job.nodes) - job.fresh
        passes: list[PassRecord] = []
        at_ns = self._passes(times, job.fresh, most, position, at_ns, passes)
        duration_ms = (at_ns - started_ns) / NS_PER_MS
        ready: JobDone
        if type(job) is DraftTree:
            ready = self._models.draft_tree(job, duration_ms)
        else:
            assert type(job) is VerifyTree
            ready = self._models.verify_tree(job, duration_ms)
        self._free_ns = at_ns
        self._kernel.at(at_ns + self._overhead_ns, answered, (job, submitted_ns, ready, passes))

    def release(self, request: int) -> None:
        self._models.release(request)
