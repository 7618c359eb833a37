"""SLED: lossless whatever the round trip, batch, timeout and threshold; drafts end and stand as its rules say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import DraftChoice
from testbed.policies import api, registry
from testbed.policies.sled.draft_state import DraftState
from testbed.policies.sled.params import SledParams
from testbed.testing import HashModels, Job, Loop, hashed
from testbed.wire.messages import Drafts, Request
from tests.policies.watched import checked

SPEC = registry.get("sled")
VARIANTS: list[dict[str, Any]] = [
    {},
    {"confidence": 0.0},
    {"confidence": 1.0},
    {"asynchronous": False},
    {"batch": 1},
    {"batch": 3, "wait_ms": 15.0},
    {"batch": 100, "max_draft": 3},
    {"timeout_ms": 30.0},
    {"timeout_ms": 1.0, "batch": 2},
    {"mode": "as_wisp_describes", "max_draft": 4},
]


class Confident(HashModels):
    """Drafts whose confidence varies: high where the drafter is right, mostly."""

    def draft(self, node: str, tokens: Any, command: api.Draft) -> DraftChoice:
        token = self.drafter(tokens, self.salts.get(node, 0))
        right = token == self.target(tokens)
        return DraftChoice(token, 0.1, 0.4 * right + 0.6 * hashed(self.seed, "confidence", len(tokens), *tokens[-3:]))


class Watched(Loop):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.batches: list[tuple[float, api.VerifyBatch]] = []
        self.asked: list[tuple[str, Drafts]] = []

    def _do(self, node: str, command: api.Command, now: float) -> None:
        super()._do(node, command, now)
        if isinstance(command, api.VerifyBatch):
            self.batches.append((now, command))
        if isinstance(command, api.Send) and isinstance(command.message, Drafts):
            self.asked.append((node, command.message))


def jobs(seed: int, count: int = 7, max_tokens: int = 25, eos: tuple[int, ...] = ()) -> list[Job]:
    return [
        Job(number, (seed, number, 1, 2)[: 1 + (seed + number) % 4], max_tokens, eos, at_ms=11.0 * number)
        for number in range(count)
    ]


def run(params: dict[str, Any], work: list[Job], models: HashModels | None = None, **loop: Any) -> Watched:
    """Runs, and checks losslessness and that nothing is left behind (invariants 1 and 4)."""
    models = models or Confident()
    watched = Watched(SPEC, SPEC.parse(params), models, far="user", **{"users": 3, "rtt_ms": 20.0, **loop})
    return checked(watched, work, models, (params, loop))


@pytest.mark.parametrize("rtt_ms", [0.0, 10.0, 70.0, 200.0])
@pytest.mark.parametrize("variant", range(len(VARIANTS)))
def test_output_equals_greedy(rtt_ms: float, variant: int) -> None:
    for seed in range(4):
        run(VARIANTS[variant], jobs(seed), Confident(seed), rtt_ms=rtt_ms)


@pytest.mark.parametrize("t_draft_ms", [0.5, 60.0])
def test_output_equals_greedy_with_unlike_devices_jitter_and_any_speed(t_draft_ms: float) -> None:
    for seed, params in enumerate(VARIANTS):
        models = Confident(seed, salts={"user0": 1, "user2": 5}, match=0.6)
        jitter = lambda sequence: 90.0 * hashed("jitter", sequence) ** 4  # noqa: E731
        run(params, jobs(seed), models, t_draft_ms=t_draft_ms, jitter=jitter)


@pytest.mark.parametrize("max_tokens", [1, 2, 3])
def test_shortest_outputs_and_ends_of_sequence(max_tokens: int) -> None:
    for params in VARIANTS:
        run(params, jobs(1, max_tokens=max_tokens))
        run(params, jobs(2, eos=(5,)), Confident(2, vocabulary=12))


@pytest.mark.parametrize("match", [0.0, 1.0])
def test_useless_and_perfect_drafters_change_nothing(match: float) -> None:
    for params in VARIANTS:
        run(params, jobs(3), Confident(match=match))


def text_of(params: dict[str, Any], max_tokens: int = 40) -> DraftState:
    return DraftState(Request(1, (7, 8), max_tokens, Sampling()), SledParams(**params))


def drafts(text: DraftState, *drafted: tuple[int, float]) -> None:
    for token, confidence in drafted:
        text.draft(0)
        text.drafted(api.DraftReady(0, 1, (token,), (0.1,), (confidence,), 1.0))


def test_a_draft_ends_with_its_first_doubtful_token_or_at_its_greatest_length() -> None:
    text = text_of({"confidence": 0.6, "max_draft": 4})
    drafts(text, (1, 0.9), (2, 0.7))
    assert not text.drafted_enough
    drafts(text, (3, 0.5))
    assert text.drafted_enough and text.ask(0.0) == (1, 2, 3)  # the doubtful token goes along
    other = text_of({"confidence": 0.0, "max_draft": 4})
    drafts(other, (1, 0.1), (2, 0.1), (3, 0.1))
    assert not other.drafted_enough
    drafts(other, (4, 0.1))
    assert other.drafted_enough
    last = text_of({"confidence": 0.0}, max_tokens=3)
    drafts(last, (1, 0.9), (2, 0.9))
    assert last.drafted_enough  # two drafts and a bonus token make all three


def test_what_was_drafted_while_waiting_stands_only_where_the_bonus_token_agrees() -> None:
    agreed, contradicted, refused = (text_of({"confidence": 0.0}) for _ in range(3))
    for text in (agreed, contradicted, refused):
        drafts(text, (1, 0.9), (2, 0.9))
        text.ask(0.0)
        drafts(text, (3, 0.9), (4, 0.9))
    agreed.answered((1, 2, 3), 0.0)
    assert (agreed.validated, agreed.drafts, agreed.waiting) == ([7, 8, 1, 2, 3], [4], False)
    contradicted.answered((1, 2, 9), 0.0)
    assert (contradicted.validated, contradicted.drafts) == ([7, 8, 1, 2, 9], [])
    refused.answered((1, 9), 0.0)
    assert (refused.validated, refused.drafts) == ([7, 8, 1, 9], [])


def test_a_token_drafted_for_a_text_that_was_made_void_meanwhile_is_dropped() -> None:
    text = text_of({"confidence": 0.0})
    drafts(text, (1, 0.9))
    text.ask(0.0)
    text.draft(0)
    text.answered((5,), 0.0)
    text.drafted(api.DraftReady(0, 1, (2,), (0.1,), (0.9,), 1.0))
    assert text.drafts == []
    drafts(text, (6, 0.9))
    assert text.drafts == [6]


def test_a_batch_waits_until_it_is_full_and_is_padded() -> None:
    watched = run({"batch": 3, "confidence": 0.0, "max_draft": 2}, jobs(0, count=3), users=3)
    verifying = [batch for _, batch in watched.batches if not batch.members[0].prefill]
    full = [batch for batch in verifying if len(batch.members) == 3]
    assert len(full) >= 8 and all(batch.padded for batch in verifying)
    assert len(verifying) - len(full) < len(full)  # only where users have gone or not yet come


def test_the_oldest_waits_no_longer_than_it_may() -> None:
    """Two users of very unlike speed: the fast one's requests do not wait for the slow one's."""
    params = {"batch": 2, "confidence": 0.0, "max_draft": 3}
    patient = run(params, jobs(0, count=2, max_tokens=40), users=2)
    impatient = run({**params, "wait_ms": 0.0}, jobs(0, count=2, max_tokens=40), users=2)
    assert max(len(batch.members) for _, batch in impatient.batches) <= 2
    alone = sum(len(batch.members) == 1 and not batch.members[0].prefill for _, batch in impatient.batches)
    assert alone > sum(len(batch.members) == 1 and not batch.members[0].prefill for _, batch in patient.batches)


def test_a_device_asks_again_with_what_it_drafted_since_and_the_server_answers_each_position_once() -> None:
    params = {"timeout_ms": 15.0, "batch": 1, "confidence": 0.0, "max_draft": 2}
    watched = run(params, jobs(0, count=1), users=1, rtt_ms=80.0, t_draft_ms=2.0)
    by_position: dict[int, list[int]] = {}
    for _, message in watched.asked:
        by_position.setdefault(message.position, []).append(len(message.tokens))
    assert any(len(lengths) > 1 for lengths in by_position.values())
    assert all(lengths == sorted(lengths) for lengths in by_position.values())
    assert any(lengths[-1] > lengths[0] for lengths in by_position.values())


def test_a_device_that_may_not_draft_while_it_waits_has_nothing_to_add() -> None:
    watched = run({"asynchronous": False, "confidence": 0.0, "max_draft": 4}, jobs(0))
    assert all(len(message.tokens) <= 4 for _, message in watched.asked)
    busy = run({"confidence": 0.0, "max_draft": 4}, jobs(0))
    drafted = [sum(one.kind == "draft" for one in each.result.passes) for each in (watched, busy)]
    assert drafted[0] < drafted[1]


@pytest.mark.parametrize("capacity", [60, 130])
def test_requests_wait_for_memory(capacity: int) -> None:
    watched = run({"batch": 2}, jobs(0), limits=api.DeviceLimits(kv_capacity_tokens=capacity))
    assert max(len({one.request for one in batch.members}) for _, batch in watched.batches) >= min(2, capacity // 30)


def test_a_padded_batch_stays_within_one_pass_of_the_device() -> None:
    watched = run({"confidence": 0.0, "max_draft": 6}, jobs(0), limits=api.DeviceLimits(max_pass_tokens=15))
    for _, batch in watched.batches:
        assert len(batch.members) * max(len(one.tokens) for one in batch.members) <= 15


def test_parameters_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="fixed length"):
        SledParams(mode="as_wisp_describes", confidence=0.4)


def fallen(params: dict[str, Any], work: list[Job], **loop: Any) -> Watched:
    """A run whose outputs need not be the target's; everything else must hold as ever."""
    watched = Watched(SPEC, SPEC.parse(params), Confident(), far="user", **{"users": 3, "rtt_ms": 20.0, **loop})
    result = watched.run(work)
    assert set(result.finished_ms) == {job.request for job in work}
    assert result.open_caches == 0
    return watched


FALLING = {"timeout_ms": 12.0, "fall_back": 2, "confidence": 0.0, "max_draft": 4, "batch": 2}


def test_a_device_that_waited_too_often_hands_out_what_it_drafted_and_the_text_goes_on_after_it() -> None:
    work = jobs(0)
    watched = fallen(FALLING, work, rtt_ms=80.0)
    models = Confident()
    outputs = {job.request: tuple(watched.result.outputs[job.request]) for job in work}
    assert all(len(outputs[job.request]) == job.max_tokens for job in work)
    assert any(outputs[job.request] != models.reference(job) for job in work)  # which is what is given up
    for job in work:  # every token is the drafter's or the target's choice after the tokens that the user has
        for end, token in enumerate(outputs[job.request]):
            context = [*job.prompt, *outputs[job.request][:end]]
            assert token in (models.target(context), models.drafter(context))


def test_a_fall_back_that_never_comes_to_it_changes_nothing() -> None:
    for patience in ({"timeout_ms": 5000.0, "fall_back": 1}, {"timeout_ms": 30.0, "fall_back": 1000}):
        run({**FALLING, **patience}, jobs(1), rtt_ms=80.0)


@pytest.mark.parametrize("rtt_ms", [5.0, 40.0, 200.0])
@pytest.mark.parametrize("fall_back", [1, 2, 3])
def test_falling_back_ends_every_request_at_any_speed_memory_and_end_of_sequence(rtt_ms: float, fall_back: int) -> None:
    for seed, eos in enumerate(((), (5,), (5,))):
        for capacity in (None, 60):
            params = {**FALLING, "timeout_ms": 9.0 * (1 + seed), "fall_back": fall_back}
            jitter = lambda sequence: 60.0 * hashed("late", sequence) ** 4  # noqa: E731
            watched = fallen(
                params,
                jobs(seed, eos=eos),
                rtt_ms=rtt_ms,
                jitter=jitter,
                limits=api.DeviceLimits(kv_capacity_tokens=capacity),
            )
            for job in jobs(seed, eos=eos):
                output = watched.result.outputs[job.request]
                assert len(output) == job.max_tokens or output.index(5) == len(output) - 1


def test_a_fall_back_without_a_time_out_is_refused() -> None:
    assert SledParams().fall_back is None
    with pytest.raises(ValidationError, match="timeout_ms"):
        SledParams(fall_back=2)
