"""Centralised serving: lossless, every pass full, first come first served, memory never over what the device holds."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.errors import RunInvalid
from testbed.policies import api, registry
from testbed.policies.admission import Admission
from testbed.policies.centralised import fill_pass
from testbed.policies.edge.sequence import Sequence
from testbed.testing import HashModels, Job, Loop
from testbed.wire.messages import Request
from tests.policies.watched import checked

SPEC = registry.get("centralised")


def jobs(
    count: int, prompt: int = 9, max_tokens: int = 20, spread_ms: float = 7.0, eos: tuple[int, ...] = ()
) -> list[Job]:
    return [
        Job(number, tuple((number + at) % 50 for at in range(1 + (prompt * (1 + number)) % 40)), max_tokens, eos,
            at_ms=spread_ms * number)
        for number in range(count)
    ]  # fmt: skip


class Watched(Loop):
    """Keeps every batch, and what the device's cache holds before each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.batches: list[api.VerifyBatch] = []
        self.most_cached = 0

    def _do(self, node: str, command: api.Command, now: float) -> None:
        super()._do(node, command, now)
        if isinstance(command, api.VerifyBatch):
            self.batches.append(command)
            self.most_cached = max(self.most_cached, sum(len(cache) for cache in self._caches.values()))


def run(params: dict[str, Any], work: list[Job], models: HashModels | None = None, **loop: Any) -> Watched:
    """Runs, and checks losslessness and that nothing is left behind (invariants 1 and 4)."""
    models = models or HashModels()
    watched = Watched(SPEC, SPEC.parse(params), models, users=4, **loop)
    return checked(watched, work, models, (params, loop))


@pytest.mark.parametrize("mode", ["continuous", "as_reported"])
@pytest.mark.parametrize(("max_batch", "token_budget"), [(None, 512), (3, 512), (None, 7), (2, 2), (1, 1), (8, 30)])
def test_output_equals_greedy_whatever_the_batch_and_budget(
    mode: str, max_batch: int | None, token_budget: int
) -> None:
    params = {"mode": mode, "max_batch": max_batch, "token_budget": token_budget}
    for seed in range(4):
        watched = run(params, jobs(9), HashModels(seed))
        for batch in watched.batches:
            assert sum(len(member.tokens) for member in batch.members) <= token_budget
            assert len(batch.members) <= (max_batch or 16 if mode == "as_reported" else max_batch or 256)
            assert len({member.request for member in batch.members}) == len(batch.members)


def test_output_ends_with_the_first_end_of_sequence() -> None:
    for seed in range(10):
        run({"token_budget": 16}, jobs(6, eos=(5,)), HashModels(seed, vocabulary=12))


def test_a_pass_takes_one_token_of_every_decoding_request_and_prompts_in_what_is_left() -> None:
    sequences = [Sequence(Request(number, tuple(range(20)), 9, Sampling()), "user0") for number in range(4)]
    ready = [api.VerifyReady(0, number, 0, (1,), (0.0,), 1.0) for number in range(2)]
    for sequence, verdict in zip(sequences, ready, strict=False):  # the first two are decoding
        sequence.verify(0)
        sequence.verified(verdict)
    members = fill_pass(1, sequences, budget=25)
    assert [(one.request, len(one.tokens), one.prefill) for one in members] == [
        (0, 1, False),
        (1, 1, False),
        (2, 20, False),
        (3, 3, True),
    ]


def test_continuous_batching_lets_a_request_in_before_the_batch_has_ended_and_a_static_batch_does_not() -> None:
    work = [Job(0, (1, 2), 40), Job(1, (3, 4), 40, at_ms=30.0)]
    together, apart = run({}, work), run({"mode": "as_reported"}, work)
    assert together.result.finished_ms[1] < together.result.finished_ms[0] + 3 * together.t_target_ms
    assert apart.result.finished_ms[1] >= apart.result.finished_ms[0] + 40 * apart.t_target_ms
    assert max(len(batch.members) for batch in together.batches) == 2
    assert max(len(batch.members) for batch in apart.batches) == 1


@pytest.mark.parametrize("capacity", [60, 100, 250])
def test_admission_waits_for_memory_and_the_device_never_holds_more(capacity: int) -> None:
    watched = run({}, jobs(12, spread_ms=0.0), limits=api.DeviceLimits(kv_capacity_tokens=capacity))
    assert 0 < watched.most_cached <= capacity
    assert len({len(batch.members) for batch in watched.batches}) > 1


def test_nobody_overtakes_a_request_that_waits_for_memory() -> None:
    admission = Admission(capacity=100, most=10)
    for number, tokens in enumerate((60, 50, 5)):
        admission.arrive(Sequence(Request(number, (1,), tokens - 1, Sampling()), "user0"))
    admission.admit()
    assert list(admission.running) == [0]  # 5 would fit beside 60, but 50 came first
    admission.leave(0)
    admission.admit()
    assert list(admission.running) == [1, 2]


def test_a_request_that_can_never_fit_is_refused_aloud() -> None:
    with pytest.raises(RunInvalid, match="request 0 may need 30 tokens of cache, but the target's device holds 29"):
        run({}, [Job(0, tuple(range(10)), 20)], limits=api.DeviceLimits(kv_capacity_tokens=29))


def test_the_device_bounds_a_pass_below_the_token_budget() -> None:
    watched = run({"token_budget": 512}, jobs(6), limits=api.DeviceLimits(max_pass_tokens=11))
    assert max(sum(len(one.tokens) for one in batch.members) for batch in watched.batches) == 11
