"""Drafts and trees of many requests in one job: computed as they would be alone, and timed alike by both engines."""

from __future__ import annotations

import random
from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.models.batch import BatchRuntime
from testbed.models.compute import Compute
from testbed.models.devices import DeviceProfile
from testbed.nodes.batches import passes_of
from testbed.nodes.expected import paced_ms
from testbed.nodes.jobs import Reply, Submit, frame
from testbed.nodes.virtualdevice import VirtualDevice
from testbed.nodes.worker import Worker
from testbed.policies.api import (
    DeviceJob,
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
from testbed.simulation.kernel import Kernel
from tests.nodes.nodes_inmemory import TableRuntime
from tests.nodes.test_batched_jobs import absolute_positions

PROFILE = DeviceProfile(
    name="p", device="d", model="m", kind="synthetic", source="test", pass_ms=((1, 2.0), (40, 5.9)),
    max_pass_tokens=40, attention_ms=1e-4, kv_read_ms=1e-3, sequence_ms=0.25, step_ms=0.5,
)  # fmt: skip
PROFILES = {"target": PROFILE, "draft": PROFILE}
SAMPLED = Sampling(0.7, seed=9)


def whole(tokens: int) -> list[int]:
    return [tokens]


def compute_of(runtime: Any) -> Compute:
    return Compute({"target": runtime, "draft": runtime}, dict.fromkeys(("target", "draft"), whole))


class OneByOne(TableRuntime):
    """A model whose batched passes are not right."""

    can_batch = False

    def forward_batch(self, feeds: Any) -> Any:
        raise AssertionError("asked for a batched pass")


def drafts_of(draws: random.Random, texts: dict[int, list[int]], vocabulary: int) -> DraftBatch:
    members: list[Draft | DraftTree] = []
    for request in draws.sample(sorted(texts), draws.randint(2, len(texts))):
        text = tuple(texts[request])
        at = draws.randint(0, len(text) - 1) if text[:1] == (0,) else 0
        kind = draws.random()
        if kind < 0.3:
            nodes = tuple(draws.randrange(1, vocabulary) for _ in range(3))
            fresh = len(text) - at + 3
            members.append(DraftTree(4, request, at, text[at:], nodes, (-1, 0, -1), (1, 2), 2, fresh))
        else:
            steps = draws.choice([0, 1, 3])
            members.append(
                Draft(4, request, at, text[at:], steps, sampled=kind > 0.8, sampling=SAMPLED, most=draws.choice([0, 2]))
            )
    return DraftBatch(4, tuple(members))


def close(one: DraftReady | TreeDraftReady, other: DraftReady | TreeDraftReady) -> bool:
    return (type(one), one.request, one.tokens) == (type(other), other.request, other.tokens) and (
        one.entropies == pytest.approx(other.entropies, abs=1e-5)
    )


@pytest.mark.parametrize("kind", ["one by one", "table", "model"])
def test_every_member_drafts_what_it_would_alone(kind: str) -> None:
    draws = random.Random(kind)
    model = absolute_positions() if kind == "model" else None
    make: Any = {"one by one": OneByOne, "table": TableRuntime, "model": lambda: BatchRuntime(model)}[kind]
    vocabulary = 61 if kind == "model" else 5
    together, apart = compute_of(make()), compute_of(make())
    for _ in range(12):
        texts = {user: [draws.randrange(1, vocabulary) for _ in range(draws.randint(2, 9))] for user in range(5)}
        job = drafts_of(draws, texts, vocabulary)
        ready, real = together.draft_batch(job)
        assert len(real) == max(1, *(one.steps for one in job.members if isinstance(one, Draft)), 1)
        for member, ours in zip(job.members, ready.members, strict=True):
            alone = apart.draft(member) if isinstance(member, Draft) else apart.draft_tree(member)
            assert close(ours, alone[0])


def test_trees_and_paths_are_verified_together_as_they_would_be_alone() -> None:
    model = absolute_positions()
    together, apart = compute_of(BatchRuntime(model)), compute_of(BatchRuntime(model))
    tree = VerifyTree(1, 1, 0, (3, 4, 5), (7, 8, 9), (-1, 0, -1), 2, fresh=6)
    for path in (Verify(1, 2, 0, (5, 6, 7), 1), Verify(1, 3, 0, (5, 6), 0, prefill=True)):
        ready, _ = together.verify_batch(VerifyBatch(1, (tree, path)))
        alone = (apart.verify_tree(tree)[0], apart.verify(path)[0])
        assert [(one.request, one.accepted, one.tokens) for one in ready.members] == [
            (one.request, one.accepted, one.tokens) for one in alone
        ]


class Silent:
    """Answers nothing."""

    def draft(self, job: Draft, duration_ms: float) -> DraftReady:
        return DraftReady(job.job, job.request, (), (), (), duration_ms)

    def verify(self, job: Verify, duration_ms: float) -> VerifyReady:
        return VerifyReady(job.job, job.request, 0, (), (), duration_ms)

    def draft_tree(self, job: DraftTree, duration_ms: float) -> TreeDraftReady:
        return TreeDraftReady(job.job, job.request, (), (), (), duration_ms)

    def verify_tree(self, job: VerifyTree, duration_ms: float) -> VerifyReady:
        return VerifyReady(job.job, job.request, 0, (), (), duration_ms)

    def release(self, request: int) -> None:
        pass


JOBS: list[DeviceJob] = [
    DraftBatch(3, (Draft(3, 1, 0, (1,) * 7, steps=3), Draft(3, 2, 5, (1,)), Draft(3, 3, 0, (2,) * 9, steps=0))),
    DraftBatch(3, (Draft(3, 1, 0, (1,) * 30, most=12), Draft(3, 2, 0, (2,) * 25, steps=2))),
    DraftBatch(3, (DraftTree(3, 1, 0, (1,) * 4, (5, 6), (-1, -1), (0, 1), 2, 6), Draft(3, 2, 0, (2,) * 5, steps=2))),
    VerifyBatch(3, (VerifyTree(3, 1, 0, (1,) * 4, (5, 6), (-1, -1), 1, 6), Verify(3, 2, 0, (2,) * 5, 1))),
    VerifyBatch(3, (Verify(3, 1, 0, (1,) * 3, 1), Verify(3, 2, 0, (2,) * 5, 1)), padded=True),
]


@pytest.mark.parametrize("job", JOBS)
def test_both_engines_and_the_forecast_time_a_job_alike(job: DraftBatch | VerifyBatch) -> None:
    kernel, heard = Kernel(), []
    device = VirtualDevice(kernel, Silent(), PROFILES)
    device.submit(job, lambda done: heard.append(done))
    kernel.run()
    ((_, _, ready, simulated),) = heard
    compute = compute_of(TableRuntime())
    compute.draft(Draft(0, 2, 0, (1,) * 5))
    answer = Worker(compute, PROFILES).answer(Submit(job, 0))
    first = answer.passes[0].started_ns

    def told(one: Any) -> tuple[object, ...]:
        return one.position, one.tokens, one.member, one.batch, one.paced_ms, one.alone_ms

    assert [told(one) for one in answer.passes] == [told(one) for one in simulated]
    starts = [(one.started_ns - first, one.member) for one in answer.passes]
    assert starts == [(one.started_ns, one.member) for one in simulated]
    each = {one.started_ns: one.paced_ms for one in simulated}
    assert list(each.values()) == pytest.approx(paced_ms(job, PROFILES, 0))
    assert isinstance(ready, JobDone) and ready.duration_ms == pytest.approx(sum(each.values()), abs=1e-5)
    assert [one.request for one in answer.ready.members] == [one.request for one in job.members]  # type: ignore[union-attr]


def test_the_passes_of_a_draft_batch_by_hand() -> None:
    """Three requests: 7 tokens and two steps more, one, and nine that are only cached; then over what a pass takes."""
    job, large = JOBS[0], JOBS[1]
    assert isinstance(job, DraftBatch) and isinstance(large, DraftBatch)
    fed = [[(member, feed.new, feed.cached) for member, feed in one.feeds] for one in passes_of(job, PROFILE)]
    assert fed == [[(0, 7, 0), (1, 1, 5), (2, 9, 0)], [(0, 1, 7)], [(0, 1, 8)]]
    fed = [[(member, feed.new, feed.cached) for member, feed in one.feeds] for one in passes_of(large, PROFILE)]
    assert fed == [[(0, 12, 0), (1, 25, 0)], [(0, 12, 12)], [(0, 6, 24)], [(1, 1, 25)]]
    tight = PROFILE.model_copy(update={"max_pass_tokens": 30})
    fed = [[(member, feed.new, feed.cached) for member, feed in one.feeds] for one in passes_of(large, tight)]
    assert fed[:2] == [[(0, 12, 0)], [(1, 25, 0)]]


def test_a_draft_batch_crosses_the_pipe() -> None:
    import msgspec

    answer = Worker(compute_of(TableRuntime()), PROFILES).answer(Submit(JOBS[2], 0))
    assert isinstance(answer.ready, DraftBatchReady)
    assert msgspec.msgpack.decode(frame(answer)[4:], type=Reply) == answer
    order = Submit(JOBS[2], 5)
    assert msgspec.msgpack.decode(frame(order)[4:], type=Submit) == order
