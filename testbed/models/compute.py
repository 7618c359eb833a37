"""Does a policy's draft and verify jobs with real models, and says how long each pass took: no sockets, no pacing.

The rules of acceptance are not here but in `testbed.decoding`; this module feeds the models and hands them the logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
import numpy as np

from testbed.decoding.ids import within
from testbed.decoding.processing import logit_variance, margin
from testbed.decoding.tree import best_choices, verify_tree
from testbed.decoding.verify import draft_choice, verify
from testbed.models.cut import cut
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.policies.api import (
    BatchReady,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftReady,
    DraftTree,
    SparseRow,
    TreeDraftReady,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)

Logits = np.ndarray[Any, np.dtype[np.float32]]
Clock = Callable[[], int]

# Every request carries its own seed, the same under each policy; its serial number differs from phase to phase and
# so must not key a draw.
STREAM = 0


class Runtime(Protocol):
    """A causal model with one cache per request: what `testbed.models.passes` makes, for real ones.

    A pass has ended when its logits are returned. `rows`: tokens that the model knows; None: not known.
    """

    @property
    def rows(self) -> int | None: ...

    def forward(self, request: int, position: int, tokens: Sequence[int], last: int = 1) -> Any: ...

    def forward_tree(self, feed: TreeFeed) -> Any: ...

    def begin(self, request: int, other: int, length: int) -> None: ...

    def release(self, request: int) -> None: ...


class BatchingRuntime(Runtime, Protocol):
    """One that also feeds many requests in one pass, where `can_batch`."""

    @property
    def can_batch(self) -> bool: ...

    def forward_batch(self, feeds: Sequence[BatchFeed]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class RealPass:
    """One real forward pass: when it ran by the run's clock, what it was fed, how long it took by the machine's."""

    start_ns: int
    end_ns: int
    position: int
    tokens: int
    took_ns: int = 0


class _Drafting:
    """A draft job under way: what is fed next and where, and what was drafted so far."""

    def __init__(self, job: Draft) -> None:
        self.job = job
        self.position = job.position
        self.feed = list(job.tokens)
        self._drafted: list[int] = []
        self._entropies: list[float] = []
        self._confidences: list[float] = []
        self._rows: list[SparseRow] = []
        self._margins: list[float] = []
        self._variances: list[float] = []

    def take(self, logits: Logits) -> None:
        """The logits after the last token fed."""
        job = self.job
        self.position += len(self.feed)
        choice = draft_choice(logits, job.sampled, job.top_q, job.sampling, STREAM, self.position)
        self._drafted.append(choice.token)
        self._entropies.append(choice.entropy)
        self._confidences.append(choice.confidence)
        if choice.row is not None:
            self._rows.append(choice.row)
        if job.features:
            self._margins.append(margin(logits))
            self._variances.append(logit_variance(logits))
        self.feed = [choice.token]

    def ready(self) -> DraftReady:
        return DraftReady(
            self.job.job,
            self.job.request,
            tuple(self._drafted),
            tuple(self._entropies),
            tuple(self._confidences),
            duration_ms=0.0,
            rows=tuple(self._rows),
            margins=tuple(self._margins),
            logit_variances=tuple(self._variances),
        )


class Compute:
    """Runs jobs on up to two models, "target" and "draft". `passes` cuts a long feed as the device would."""

    def __init__(
        self,
        runtimes: Mapping[str, BatchingRuntime],
        passes: Mapping[str, Callable[[int], list[int]]],
        clock: Clock = time.monotonic_ns,
        wall: Clock = time.monotonic_ns,
    ) -> None:
        self._runtimes = runtimes
        self._passes = passes
        self._clock = clock
        self._wall = wall

    def draft(self, job: Draft) -> tuple[DraftReady, list[RealPass]]:
        """`steps` tokens; the first pass catches up on every token fed. `duration_ms` is 0 until the pacer fills it."""
        self._begin("draft", job)
        real: list[RealPass] = []
        one = _Drafting(job)
        if not job.steps:
            self._forward("draft", job.request, one.position, one.feed, 1, real, job.most)
        for _ in range(job.steps):
            one.take(self._forward("draft", job.request, one.position, one.feed, 1, real, job.most)[0])
        return one.ready(), real

    def draft_together(self, jobs: Sequence[Draft]) -> list[tuple[DraftReady, list[RealPass]]]:
        """As `draft` would do each, up to the arithmetic's rounding; jobs of as many steps share every real pass.

        A job's passes are those of its device. Where that cuts a feed, the last stands for the real one.
        """
        for job in jobs:
            self._begin("draft", job)
        under_way = [_Drafting(job) for job in jobs]
        real: list[list[RealPass]] = [[] for _ in jobs]
        (steps,) = {job.steps for job in jobs}
        for _ in range(steps):
            begin, wall = self._clock(), self._wall()
            feeds = [BatchFeed(one.job.request, one.position, one.feed) for one in under_way]
            rows_of = [on_host(rows) for rows in self._runtimes["draft"].forward_batch(feeds)]
            end, took = self._clock(), self._wall() - wall
            for one, rows, passes in zip(under_way, rows_of, real, strict=True):
                at = one.position
                for size in self._sizes("draft", len(one.feed), one.job.most):
                    passes.append(RealPass(begin, begin, at, size))
                    at += size
                passes[-1] = replace(passes[-1], end_ns=end, took_ns=took)
                one.take(rows[0])
        return [(one.ready(), passes) for one, passes in zip(under_way, real, strict=True)]

    def draft_batch(self, job: DraftBatch) -> tuple[DraftBatchReady, list[RealPass]]:
        """What every member drafts, as it would alone, up to the arithmetic's rounding; a real pass for each step."""
        under_way = {index: _Drafting(one) for index, one in enumerate(job.members) if isinstance(one, Draft)}
        for drafting in under_way.values():
            self._begin("draft", drafting.job)
        ready: dict[int, DraftReady | TreeDraftReady] = {}
        real: list[RealPass] = []
        for step in range(max(1, *(one.job.steps for one in under_way.values()), 0)):
            begin, wall = self._clock(), self._wall()
            going = [one for one in under_way.values() if step < max(1, one.job.steps)]
            feeds = [BatchFeed(one.job.request, one.position, one.feed) for one in going]
            for one, rows in zip(going, self._together("draft", feeds), strict=True):
                if one.job.steps:
                    one.take(rows[-1:][0])
            if not step:
                trees = ((index, one) for index, one in enumerate(job.members) if isinstance(one, DraftTree))
                ready |= {index: self.draft_tree(tree)[0] for index, tree in trees}
            fed = sum(len(one.tokens) for one in feeds)
            real.append(RealPass(begin, self._clock(), job.members[0].position, fed, self._wall() - wall))
        ready |= {index: one.ready() for index, one in under_way.items()}
        return DraftBatchReady(job.job, tuple(ready[index] for index in range(len(ready))), duration_ms=0.0), real

    def verify(self, job: Verify) -> tuple[VerifyReady, list[RealPass]]:
        """One target pass over all tokens fed (more if the device cuts it), then the verdict on the drafts."""
        self._begin("target", job)
        real: list[RealPass] = []
        logits = self._forward("target", job.request, job.position, self._judgeable(job), job.drafts + 1, real)
        return _judged(job, logits), real

    def verify_batch(self, job: VerifyBatch) -> tuple[BatchReady, RealPass]:
        """One target pass over every member's tokens, then the verdict on each member's drafts."""
        linear = {index: one for index, one in enumerate(job.members) if isinstance(one, Verify)}
        for one in linear.values():
            self._begin("target", one)
        begin, wall = self._clock(), self._wall()
        feeds = [
            BatchFeed(one.request, one.position, self._judgeable(one), 0 if one.prefill else one.drafts + 1)
            for one in linear.values()
        ]
        rows_of = dict(zip(linear, self._together("target", feeds), strict=True))
        verdicts = {
            index: self.verify_tree(one)[0] for index, one in enumerate(job.members) if isinstance(one, VerifyTree)
        }
        end, took = self._clock(), self._wall() - wall
        fed = sum(len(one.tokens) for one in job.members)
        real = RealPass(begin, end, job.members[0].position, fed, took)
        verdicts |= {index: _judged(one, rows_of[index]) for index, one in linear.items()}
        members = tuple(verdicts[index] for index in range(len(verdicts)))
        return BatchReady(job.job, members, duration_ms=0.0), real

    def _together(self, model: str, feeds: Sequence[BatchFeed]) -> list[Logits]:
        """Logits of each feed: in one pass, or one by one where the model's batched passes are not right."""
        runtime = self._runtimes[model]
        if len(feeds) > 1 and runtime.can_batch:
            return [on_host(rows) for rows in runtime.forward_batch(feeds)]
        return [on_host(runtime.forward(one.request, one.position, one.tokens, max(1, one.last))) for one in feeds]

    def draft_tree(self, job: DraftTree) -> tuple[TreeDraftReady, list[RealPass]]:
        """The best choices at every leaf, from one batched pass."""
        logits, real = self._forward_tree("draft", job, job.leaves, job.most)
        found = [best_choices(row, job.width) for row in logits]
        ready = TreeDraftReady(
            job.job,
            job.request,
            tuple(tokens for tokens, _, _ in found),
            tuple(probabilities for _, probabilities, _ in found),
            tuple(entropy for _, _, entropy in found),
            duration_ms=0.0,
        )
        return ready, real

    def verify_tree(self, job: VerifyTree) -> tuple[VerifyReady, list[RealPass]]:
        """One target pass over the text and a tree of drafts, then the verdict on its paths."""
        nodes = within(job.nodes, len(job.nodes), self._runtimes["target"].rows)
        logits, real = self._forward_tree(
            "target", msgspec.structs.replace(job, nodes=tuple(nodes)), range(-1, len(job.nodes))
        )
        first = job.position + len(job.tokens)
        verdict = verify_tree(logits, job.nodes, job.parents, job.sampling, STREAM, first)
        ready = VerifyReady(job.job, job.request, verdict.accepted, verdict.tokens, verdict.entropies, duration_ms=0.0)
        return ready, real

    def _begin(self, model: str, job: Draft | DraftTree | Verify | VerifyTree) -> None:
        """Copies what is kept of another request, where the job says so. That takes no forward pass."""
        if job.prefix_of is not None:
            self._runtimes[model].begin(job.request, job.prefix_of, job.position)

    def _judgeable(self, job: Verify) -> list[int]:
        return within(job.tokens, job.drafts, self._runtimes["target"].rows)

    def release(self, request: int) -> None:
        for runtime in self._runtimes.values():
            runtime.release(request)

    def _forward(
        self, model: str, request: int, position: int, feed: list[int], last: int, real: list[RealPass], most: int = 0
    ) -> Logits:
        """Feeds in device-sized passes; returns [last, vocab] logits."""
        collected: list[Logits] = []
        wanted = last
        chunks = []
        at = 0
        for size in self._sizes(model, len(feed), most):
            chunks.append((position + at, feed[at : at + size]))
            at += size
        remaining = len(feed)
        for start, chunk in chunks:
            remaining -= len(chunk)
            keep = max(1, min(len(chunk), wanted - remaining))
            begin, wall = self._clock(), self._wall()
            logits = on_host(self._runtimes[model].forward(request, start, chunk, keep))
            real.append(RealPass(begin, self._clock(), start, len(chunk), self._wall() - wall))
            if wanted > remaining:
                collected.append(logits)
        return np.concatenate(collected)[-last:]

    def _forward_tree(
        self, model: str, job: DraftTree | VerifyTree, wanted: Sequence[int], most: int = 0
    ) -> tuple[Logits, list[RealPass]]:
        """One real pass over all that is fed, whatever the emulated device would keep of the tree.

        The passes reported are that device's: over the job's fresh tokens. Where it needs several, the last stands for
        the real one.
        """
        self._begin(model, job)
        begin, wall = self._clock(), self._wall()
        runtime = self._runtimes[model]
        logits = on_host(
            runtime.forward_tree(TreeFeed(job.request, job.position, job.tokens, job.nodes, job.parents, wanted))
        )
        end, took = self._clock(), self._wall() - wall
        real = []
        at = job.position + len(job.tokens) + len(job.nodes) - job.fresh
        for size in self._sizes(model, job.fresh, most):
            real.append(RealPass(begin, begin, at, size))
            at += size
        real[-1] = replace(real[-1], end_ns=end, took_ns=took)
        return logits, real

    def _sizes(self, model: str, tokens: int, most: int) -> list[int]:
        return [size for feed in cut(tokens, most) for size in self._passes[model](feed)]


def on_host(logits: Any) -> Logits:
    """Logits as an array, without a copy."""
    return np.asarray(logits)


def _judged(job: Verify, logits: Logits) -> VerifyReady:
    """The verdict on a job's drafts, from the logits of its last tokens; a prefill has none."""
    if job.prefill:
        return VerifyReady(job.job, job.request, 0, (), (), duration_ms=0.0)
    drafts = job.tokens[len(job.tokens) - job.drafts :]
    first = job.position + len(job.tokens) - job.drafts
    verdict = verify(logits, drafts, job.sampling, STREAM, first, job.rows)
    return VerifyReady(job.job, job.request, verdict.accepted, verdict.tokens, verdict.entropies, duration_ms=0.0)
