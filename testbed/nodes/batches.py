"""What a job feeds in each pass, a batch's passes, and their rows in the log: the same in both engines.

A pass over several requests has one row per member in the log, all with the pass's times and job number: requests are
counted by rows, passes by (node, job, start), as `testbed.results.metrics.base.passes` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, assert_never

from testbed.models.cut import cut
from testbed.models.timing import Feed, Timed, padded
from testbed.nodes.jobs import PassRecord
from testbed.policies.api import Draft, DraftBatch, DraftTree, Verify, VerifyBatch, VerifyTree

Single = Draft | DraftTree | Verify | VerifyTree  # a job of one request
Batch = DraftBatch | VerifyBatch


class BatchPass(NamedTuple):
    """One pass of a batch: in which step of its drafts, and who feeds what."""

    step: int
    feeds: list[tuple[int, Feed]]  # member, and its own tokens, without padding


class Span(NamedTuple):
    """When a pass ran on the emulated device, and how its time was reached."""

    started_ns: int
    finished_ns: int
    paced_ms: float
    real_ms: float
    overrun_ms: float
    factor: float  # of this pass, and so of what a member's own pass would have taken at the same moment


def model_of(job: Batch) -> str:
    return "draft" if isinstance(job, DraftBatch) else "target"


def steps_of(job: Single, profile: Timed) -> list[list[Feed]]:
    """What a job feeds, step by step; each step is cut into passes as the job says, and as the device must."""
    at = job.position
    match job:
        case Draft():
            steps = [cut(len(job.tokens), job.most), *[[1]] * (job.steps - 1)]
        case Verify():
            steps = [[len(job.tokens)]]
        case DraftTree():
            steps, at = [cut(job.fresh, job.most)], _kept(job)
        case VerifyTree():
            steps, at = [[job.fresh]], _kept(job)
        case _:
            assert_never(job)
    found: list[list[Feed]] = []
    for step in steps:
        found.append([])
        for size in (size for feed in step for size in profile.passes(feed)):
            found[-1].append(Feed(size, at))
            at += size
    return found


def feeds_of(job: VerifyBatch) -> list[Feed]:
    """Each member's tokens as the device computes them, padding included."""
    feeds = [_whole(member) for member in job.members]
    return padded(feeds) if job.padded else feeds


def passes_of(job: Batch, profile: Timed) -> list[BatchPass]:
    """One pass for a target, whose tokens must fit. Drafts go step by step; what one pass cannot take goes in more."""
    if isinstance(job, VerifyBatch):
        return [BatchPass(0, [(index, _whole(member)) for index, member in enumerate(job.members)])]
    lanes = [steps_of(member, profile) for member in job.members]
    return [
        BatchPass(step, feeds)
        for step in range(max(map(len, lanes)))
        for together in zip_longest(*(lane[step] if step < len(lane) else () for lane in lanes))
        for feeds in _fitting([(index, feed) for index, feed in enumerate(together) if feed], profile.max_pass_tokens)
    ]


def pass_ms(job: Batch, one: BatchPass, profile: Timed) -> float:
    """What the profile says for one of its passes."""
    feeds = [feed for _, feed in one.feeds]
    return profile.batch_ms(padded(feeds) if isinstance(job, VerifyBatch) and job.padded else feeds)


def member_records(passes: Sequence[BatchPass], spans: Sequence[Span], profile: Timed) -> tuple[PassRecord, ...]:
    """Each pass, as each of its members took part in it."""
    return tuple(
        PassRecord(
            span.started_ns,
            span.finished_ns,
            span.paced_ms,
            span.real_ms,
            span.overrun_ms,
            feed.cached,
            feed.new,
            profile.duration_ms(feed.new, feed.cached) * span.factor,
            member,
            len(one.feeds),
        )
        for one, span in zip(passes, spans, strict=True)
        for member, feed in one.feeds
    )


def _whole(job: Verify | VerifyTree) -> Feed:
    return Feed(job.fresh, _kept(job)) if isinstance(job, VerifyTree) else Feed(len(job.tokens), job.position)


def _kept(job: DraftTree | VerifyTree) -> int:
    """Tokens that a device which keeps trees has of what a job feeds."""
    return job.position + len(job.tokens) + len(job.nodes) - job.fresh


def _fitting(feeds: list[tuple[int, Feed]], most: int) -> Iterator[list[tuple[int, Feed]]]:
    """In their order, with no more than `most` tokens together."""
    group: list[tuple[int, Feed]] = []
    tokens = 0
    for index, feed in feeds:
        if group and tokens + feed.new > most:
            yield group
            group, tokens = [], 0
        group.append((index, feed))
        tokens += feed.new
    if group:
        yield group
