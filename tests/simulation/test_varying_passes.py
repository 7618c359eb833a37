"""Invariant 2 where passes vary: a worker and the simulation draw the same times, for every kind of job."""

from __future__ import annotations

import random
from typing import Any

import pytest

from testbed.decoding.rng import device_seed
from testbed.models.compute import RealPass
from testbed.models.cut import cut
from testbed.models.devices import DeviceProfile
from testbed.models.timing import Feed
from testbed.models.variation import Lognormal, Variation
from testbed.nodes.batches import feeds_of
from testbed.nodes.jobs import Submit
from testbed.nodes.virtualdevice import VirtualDevice
from testbed.nodes.worker import Worker
from testbed.policies.api import (
    BatchReady,
    DeviceJob,
    Draft,
    DraftReady,
    DraftTree,
    TreeDraftReady,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)
from testbed.simulation.kernel import Kernel

SEED = device_seed(5, 1, "target0")
LAWS = {
    "target": Variation(source="test", quantiles=((0.0, 0.8), (0.5, 1.0), (1.0, 2.0))),
    "draft": Variation(source="test", lognormal=Lognormal(sigma=0.3)),
}


def profile(model: str, ms: float, longest: int) -> DeviceProfile:
    return DeviceProfile(
        name=model, device="d", model="m", kind="synthetic", source="test", pass_ms=((1, ms), (longest, 3 * ms)),
        max_pass_tokens=longest, kv_read_ms=0.01, sequence_ms=0.1, varies=LAWS[model],
    )  # fmt: skip


PROFILES = {"target": profile("target", 20.0, 64), "draft": profile("draft", 7.5, 16)}


class Answers:
    """Models whose answers do not matter; `passes_of` says what passes a real one would run."""

    def draft(self, job: Draft, duration_ms: float = 0.0) -> DraftReady:
        return DraftReady(job.job, job.request, (0,) * job.steps, (0.0,) * job.steps, (1.0,) * job.steps, duration_ms)

    def verify(self, job: Verify | VerifyTree, duration_ms: float = 0.0) -> VerifyReady:
        return VerifyReady(job.job, job.request, 0, (0,), (0.0,), duration_ms)

    def draft_tree(self, job: DraftTree, duration_ms: float = 0.0) -> TreeDraftReady:
        return TreeDraftReady(job.job, job.request, (), (), (), duration_ms)

    verify_tree = verify


class Computed:
    """As `Compute`, with passes that take no time."""

    def __init__(self) -> None:
        self.at_ns = 0

    def _real(self, model: str, position: int, feeds: list[int]) -> list[RealPass]:
        found = []
        for size in (size for feed in feeds for size in PROFILES[model].passes(feed)):
            found.append(RealPass(self.at_ns, self.at_ns, position, size))
            position += size
        return found

    def draft(self, job: Draft) -> Any:
        feeds = [*cut(len(job.tokens), job.most), *[1] * (job.steps - 1)]
        return Answers().draft(job), self._real("draft", job.position, feeds)

    def verify(self, job: Verify) -> Any:
        return Answers().verify(job), self._real("target", job.position, [len(job.tokens)])

    def draft_tree(self, job: DraftTree) -> Any:
        position = job.position + len(job.tokens) + len(job.nodes) - job.fresh
        return Answers().draft_tree(job), self._real("draft", position, cut(job.fresh, job.most))

    def verify_tree(self, job: VerifyTree) -> Any:
        position = job.position + len(job.tokens) + len(job.nodes) - job.fresh
        return Answers().verify(job), self._real("target", position, [job.fresh])

    def verify_batch(self, job: VerifyBatch) -> Any:
        members = tuple(Answers().verify(member) for member in job.members)
        return BatchReady(job.job, members, 0.0), RealPass(self.at_ns, self.at_ns, 0, 1)


def jobs(count: int) -> list[tuple[int, DeviceJob]]:
    draws, at_ns = random.Random(3), 0
    found: list[tuple[int, DeviceJob]] = []
    for number in range(count):
        at_ns += draws.choice((0, 1, 5_000_000, 400_000_000))
        fed, position = (0,) * draws.choice((1, 2, 16, 40)), draws.randrange(9)
        kinds: list[DeviceJob] = [
            Draft(number, 1, position, fed, steps=draws.choice((1, 4))),
            Verify(number, 1, position, fed, drafts=0),
            DraftTree(number, 1, position, fed, (0,) * 3, (-1, 0, -1), (0,), fresh=len(fed) + 3, width=2),
            VerifyTree(number, 1, position, fed, (0,) * 3, (-1, 0, -1), drafts=3, fresh=len(fed) + 3),
            VerifyBatch(number, tuple(Verify(0, request, position, fed[:16], drafts=0) for request in range(3))),
        ]
        found.append((at_ns, draws.choice(kinds)))
    return found


def test_a_worker_and_the_simulation_draw_equal_times_for_every_kind_of_job() -> None:
    todo = jobs(300)
    computed: Any = Computed()
    worker = Worker(computed, PROFILES)
    emulated = []
    for at_ns, job in todo:
        computed.at_ns = at_ns
        emulated.append(worker.answer(Submit(job, at_ns, seed=SEED)).passes)
    kernel, answers, simulated = Kernel(), Answers(), []
    virtual = VirtualDevice(kernel, answers, PROFILES, seed=SEED)  # type: ignore[arg-type]
    for at_ns, job in todo:
        kernel.at(at_ns, lambda one: virtual.submit(one, lambda done: simulated.append(tuple(done[3]))), job)
    kernel.run()
    assert simulated == emulated
    steady = {one.paced_ms for passes in emulated for one in passes}
    assert len(steady) > 300, "passes of one length differ"


def test_a_shared_worker_expects_what_it_will_draw() -> None:
    worker = Worker(Computed(), PROFILES)  # type: ignore[arg-type]
    for at_ns, job in jobs(100):
        if isinstance(job, Draft | DraftTree):
            order = Submit(job, at_ns, seed=SEED)
            expected = worker.expected_ms(order)
            assert expected == pytest.approx(sum(one.paced_ms for one in worker.answer(order).passes))


def test_a_batch_has_one_factor_and_its_members_alone_have_it_too() -> None:
    batch = VerifyBatch(4, tuple(Verify(0, request, 8, (0,) * 5, drafts=0) for request in range(3)))
    passes = Worker(Computed(), PROFILES).answer(Submit(batch, 0, seed=SEED)).passes  # type: ignore[arg-type]
    factor = PROFILES["target"].factor(SEED, 4, 0)
    assert factor != 1
    assert {one.paced_ms for one in passes} == {PROFILES["target"].batch_ms(feeds_of(batch)) * factor}
    assert {one.alone_ms for one in passes} == {PROFILES["target"].batch_ms([Feed(5, 8)]) * factor}
