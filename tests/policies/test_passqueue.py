"""Jobs of single requests, merged: who is in a pass, how prompts are fed, who waits for memory; and none starves."""

from __future__ import annotations

import random
from functools import partial

import pytest

from testbed.decoding.sampling import Sampling
from testbed.errors import RunInvalid
from testbed.policies import registry
from testbed.policies.api import (
    BatchReady,
    DeviceJob,
    DeviceLimits,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftReady,
    DraftTree,
    JobDone,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)
from testbed.policies.batching import BatchingParams
from testbed.policies.jobqueue import JobQueue
from testbed.policies.passqueue import PassQueue, Single, Wish, cut, fed
from testbed.testing import HashModels, Job, Loop
from testbed.wire.messages import Request
from tests.policies.watched import checked

NO_LIMITS = DeviceLimits()


class Asking:
    """A request that feeds its prompt, then rounds: `k` drafts, a verification; idle while it waits for a worker."""

    def __init__(self, number: int, prompt: int, rounds: int, k: int = 2, drafts: bool = True) -> None:
        self.request = Request(number, tuple(range(prompt)), 8, Sampling())
        self.left = rounds
        self.drafting = drafts
        self.k = k
        self.idle = False
        self.position = {True: 0, False: 0}  # by model, whether the draft model's
        self.answers: list[int] = []
        self._drafts = drafts

    def wish(self) -> Wish | None:
        if self.idle or not self.left:
            return None
        return Wish(self.drafting, partial(self._job, self.drafting))

    def _job(self, drafts: bool, number: int) -> Single:
        at = self.position[drafts]
        missing = len(self.request.prompt) - at if not at else 1
        if drafts:
            return Draft(number, self.request.request, at, (7,) * missing, steps=self.k)
        return Verify(number, self.request.request, at, (7,) * (missing + self.k), self.k)

    def answered(self, job: int) -> None:
        self.answers.append(job)
        self.position[self.drafting] = max(len(self.request.prompt), self.position[self.drafting] + 1)
        if not self.drafting:
            self.left -= 1
        self.drafting = self._drafts and not self.drafting


def queue_of(*asking: Asking, limits: DeviceLimits = NO_LIMITS, **params: int) -> PassQueue[Asking]:
    queue: PassQueue[Asking] = PassQueue(BatchingParams(**params), limits)
    for one in asking:
        queue.open(one.request, one)
    return queue


def members(job: DeviceJob) -> tuple[Single, ...]:
    return job.members if isinstance(job, VerifyBatch | DraftBatch) else (job,)


def answer(job: DeviceJob) -> JobDone:
    if isinstance(job, DraftBatch):
        return DraftBatchReady(
            job.job, tuple(DraftReady(one.job, one.request, (), (), (), 1.0) for one in job.members), 1.0
        )
    if isinstance(job, VerifyBatch):
        return BatchReady(job.job, tuple(VerifyReady(one.job, one.request, 0, (), (), 1.0) for one in job.members), 1.0)
    if isinstance(job, Draft | DraftTree):
        return DraftReady(job.job, job.request, (), (), (), 1.0)
    return VerifyReady(job.job, job.request, 0, (), (), 1.0)


def step(queue: PassQueue[Asking]) -> DeviceJob | None:
    """One pass, and who it answers goes on."""
    jobs = queue.start(Asking.wish)
    if not jobs:
        return None
    (job,) = jobs
    for asking, done in queue.finished(answer(job)):
        asking.answered(done.job)
    return job


def who(job: DeviceJob | None) -> list[int]:
    assert job is not None
    return [one.request for one in members(job)]


def test_all_that_want_the_same_model_share_a_pass_and_who_waited_longest_says_which() -> None:
    drafting, verifying = Asking(1, 4, 2), Asking(2, 4, 2, drafts=False)
    queue = queue_of(drafting, verifying, Asking(3, 4, 2))
    first = step(queue)
    assert isinstance(first, DraftBatch) and who(first) == [1, 3]
    second = step(queue)
    assert isinstance(second, VerifyBatch) and who(second) == [1, 2, 3]
    assert all(one.job == second.job for one in second.members)


def test_a_request_alone_gets_the_plain_job() -> None:
    queue = queue_of(Asking(1, 4, 1))
    assert isinstance(step(queue), Draft) and isinstance(step(queue), Verify) and step(queue) is None


def test_decoding_comes_first_and_prompts_share_the_rest_in_the_order_of_arrival() -> None:
    decoding = Asking(1, 2, 5, drafts=False)
    queue = queue_of(decoding, token_budget=10)
    step(queue)
    for number, prompt in ((2, 12), (3, 4)):
        queue.open((one := Asking(number, prompt, 3, drafts=False)).request, one)
    passes = [step(queue) for _ in range(4)]
    fed_by = [{one.request: len(one.tokens) for one in members(job)} for job in passes if job is not None]
    assert fed_by == [{1: 3, 2: 7}, {1: 3, 2: 7}, {1: 3, 2: 3, 3: 3}, {1: 3, 2: 3, 3: 3}]
    assert all(sum(one.values()) <= 10 for one in fed_by)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("budget", [3, 5, 17, 512])
def test_no_pass_is_over_budget_nothing_is_fed_twice_and_every_request_ends(seed: int, budget: int) -> None:
    draws = random.Random(f"{seed} {budget}")
    most = draws.choice([1, 2, 4, 256])
    asking = [
        Asking(number, draws.randint(1, 40), draws.randint(1, 4), draws.randint(1, 2), draws.random() < 0.6)
        for number in range(draws.randint(1, 12))
    ]
    total = {(one.request.request, one._drafts): one.left for one in asking}
    queue: PassQueue[Asking] = PassQueue(BatchingParams(max_batch=most, token_budget=budget), NO_LIMITS)
    cached: dict[tuple[int, bool], int] = {}
    coming = list(asking)
    for _ in range(5000):
        if coming and draws.random() < 0.3:
            queue.open((one := coming.pop(0)).request, one)
        for one in asking:
            one.idle = draws.random() < 0.2
        job = step(queue)
        if job is None:
            if not coming and not any(one.left for one in asking):
                break
            continue
        parts = members(job)
        assert sum(map(fed, parts)) <= budget and len(parts) <= most
        assert len({one.request for one in parts}) == len(parts)
        assert len({isinstance(one, Draft | DraftTree) for one in parts}) == 1
        for part in parts:
            assert part.job == job.job and part.tokens
            drafts = isinstance(part, Draft)
            assert part.position == cached.get((part.request, drafts), 0)  # parts follow one another
            if isinstance(part, Verify):
                assert part.prefill or len(part.tokens) > part.drafts
            told = part.position + len(part.tokens) - (part.drafts if isinstance(part, Verify) else 0)
            cached[part.request, drafts] = told
    assert not any(one.left for one in asking)
    for one in asking:
        assert len(one.answers) == total[one.request.request, one._drafts] * (2 if one._drafts else 1)


def test_one_request_a_pass_is_the_queue_that_serves_one_job_at_a_time() -> None:
    draws = random.Random(5)
    ours, theirs = ([Asking(number, 3, 6) for number in range(5)] for _ in range(2))
    queue, single = queue_of(*ours, max_batch=1), JobQueue[Asking]()
    for one in theirs:
        single.open(one.request.request, one)

    def ask(state: Asking, job: int) -> Draft | Verify | DraftTree | VerifyTree | None:
        wish = state.wish()
        return None if wish is None else wish.make(job)

    for _ in range(200):
        for mine, other in zip(ours, theirs, strict=True):
            mine.idle = other.idle = draws.random() < 0.3
        job, plain = step(queue), single.start(ask)
        assert [job] == plain if job is not None else plain == []
        if job is not None:
            done = answer(job)
            assert isinstance(done, DraftReady | VerifyReady)
            state = single.finished(done)
            assert state is not None
            state.answered(job.job)


def test_a_request_waits_until_its_memory_is_free_and_is_not_overtaken() -> None:
    limits = DeviceLimits(kv_capacity_tokens=30)
    first, second, small = (Asking(number, prompt, 1, drafts=False) for number, prompt in ((1, 10), (2, 12), (3, 1)))
    queue = queue_of(first, second, small, limits=limits)
    assert who(step(queue)) == [1] and step(queue) is None  # 18 are held, 20 wanted
    assert queue.get(2) is second
    queue.close(1)
    assert who(step(queue)) == [2, 3]
    with pytest.raises(RunInvalid, match="may need 31 tokens of cache"):
        queue.open(Asking(4, 23, 1).request, small)


def test_what_a_pass_says_of_a_request_that_was_closed_or_came_again_is_dropped() -> None:
    queue = queue_of(Asking(1, 4, 2), Asking(2, 4, 2))
    (job,) = queue.start(Asking.wish)
    assert queue.busy and queue.start(Asking.wish) == []
    queue.close(1)
    again = Asking(2, 4, 2)
    queue.open(again.request, again)
    assert queue.finished(answer(job)) == []
    assert who(step(queue)) == [2] and again.answers


def test_an_unknown_result_is_refused() -> None:
    with pytest.raises(ValueError, match="job 3 finished while job None"):
        queue_of().finished(VerifyReady(3, 0, 0, (), (), 1.0))


def test_a_job_is_cut_in_its_text_and_a_tree_only_while_nothing_of_it_is_cached() -> None:
    verify = Verify(5, 1, 3, (1, 2, 3, 4, 5), 2)
    assert cut(verify, 10) == (Verify(5, 1, 3, (1, 2), 0, prefill=True), Verify(5, 1, 5, (3, 4, 5), 2))
    assert cut(verify, 1) == (Verify(5, 1, 3, (1,), 0, prefill=True), Verify(5, 1, 4, (2, 3, 4, 5), 2))
    assert cut(Verify(5, 1, 3, (1, 2, 3), 2), 2) is None  # a round is whole
    tree = VerifyTree(5, 1, 0, (1, 2, 3), (7, 8), (-1, -1), 1, fresh=5)
    assert cut(tree, 2) == (
        Verify(5, 1, 0, (1, 2), 0, prefill=True), VerifyTree(5, 1, 2, (3,), (7, 8), (-1, -1), 1, fresh=3)
    )  # fmt: skip
    assert cut(VerifyTree(5, 1, 0, (1, 2, 3), (7, 8), (-1, -1), 1, fresh=3), 2) is None
    draft = DraftTree(5, 1, 0, (1, 2, 3), (), (), (-1,), 2, fresh=3)
    assert cut(draft, 2) == (Draft(5, 1, 0, (1, 2), steps=0), DraftTree(5, 1, 2, (3,), (), (), (-1,), 2, fresh=1))


POLICIES = [
    ("autoregressive", {}),
    ("speculative", {"k": 3}),
    ("wanspec", {"k": 2}),
    ("wanspec", {"k": 2, "branches": 2, "theta": None, "local_branches": True}),
    ("wanspec", {"rule": "expected_arrival", "mismatch": "learned", "latency_bound": 1.02, "catch_up": 2}),
]


@pytest.mark.parametrize("budget", [9, 512])
@pytest.mark.parametrize("most", [1, 3, None])
@pytest.mark.parametrize(("name", "params"), POLICIES)
def test_outputs_are_the_targets_own_whatever_shares_a_pass(
    name: str, params: dict[str, object], most: int | None, budget: int
) -> None:
    """Many requests at once, prompts of several budgets, memory for three of them: all are answered, none differs."""
    models = HashModels(3, 12, 0.75, {})
    work = [Job(number, tuple(range(1, 6 + 5 * (number % 4))), 12, at_ms=4.0 * number) for number in range(9)]
    spec = registry.get(name)
    loop = Loop(
        spec, spec.parse({**params, "max_batch": most, "token_budget": budget}), models, rtt_ms=11.5, users=3,
        drafters=2, limits=DeviceLimits(kv_capacity_tokens=140, max_pass_tokens=2048),
    )  # fmt: skip
    checked(loop, work, models, (name, most, budget))
