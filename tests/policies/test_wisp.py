"""WISP put together: lossless whatever stops drafts and however batches form; deadlines decide who goes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import DraftChoice
from testbed.errors import BadInput, RunInvalid
from testbed.models.devices import load_profile
from testbed.nodes.capacity import limits_of
from testbed.policies import api, registry
from testbed.policies.wisp.draft_state import DraftState
from testbed.policies.wisp.features import Features
from testbed.policies.wisp.params import WispParams
from testbed.testing import HashModels, Job, Loop, hashed
from testbed.wire.messages import Drafts, Request
from tests.policies.watched import checked

SPEC = registry.get("wisp")
LIMITS = limits_of(load_profile("a100-80gb/qwen3-32b"))
VARIANTS: list[dict[str, Any]] = [
    {},
    {"send_suspect": False},
    {"draft_while_waiting": True, "max_draft": 8},
    {"draft_while_waiting": True, "send_suspect": False, "stop": "svip", "threshold": 0.3},
    {"stop": "adaedl", "threshold": 0.8},
    {"stop": "confidence", "threshold": 1.0},
    {"stop": "fixed", "max_draft": 4, "basis": "round"},
    {"estimator": "online", "max_batch": 2},
    {"urgent": False, "density": False, "deadline_check": False},
    {"deadline_check": False, "patience_ms": 1.0, "prefill_tokens": 2},
    {"stop": "gain"},
    {"stop": "gain", "draft_while_waiting": True, "send_suspect": False, "lengths": "need"},
    {"lengths": "slack", "bucket": 2.0},
    {"order": "deadline", "pass_tokens": 9, "patience_ms": 500.0},
]


class Confident(HashModels):
    """Drafts whose confidence and entropy vary: better where the drafter is right, mostly."""

    def draft(self, node: str, tokens: Any, command: api.Draft) -> DraftChoice:
        token = self.drafter(tokens, self.salts.get(node, 0))
        right = token == self.target(tokens)
        sure = 0.4 * right + 0.6 * hashed(self.seed, "confidence", len(tokens), *tokens[-3:])
        return DraftChoice(token, 2.5 * (1.0 - sure), sure)


class Watched(Loop):
    """Promises rates to users, gives margins where they are asked for, and notes batches and drafts."""

    rates: dict[int, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rates = {}
        self.batches: list[tuple[float, api.VerifyBatch]] = []
        self.asked: list[Drafts] = []
        self.featured: set[int] = set()

    def _at(self, when: float, node: str, event: Any) -> None:
        if isinstance(event, api.RequestArrived):
            event = msgspec.structs.replace(event, slo_tokens_per_s=self.rates.get(event.request))
        if isinstance(event, api.DraftReady):
            spread = tuple(value * 0.8 for value in event.confidences)
            event = msgspec.structs.replace(event, margins=spread, logit_variances=tuple(8.0 * s for s in spread))
        super()._at(when, node, event)

    def _do(self, node: str, command: api.Command, now: float) -> None:
        super()._do(node, command, now)
        if isinstance(command, api.VerifyBatch):
            self.batches.append((now, command))
        if isinstance(command, api.Draft) and not command.features:
            self.featured.add(command.job)
        if isinstance(command, api.Send) and isinstance(command.message, Drafts):
            self.asked.append(command.message)


def jobs(seed: int, count: int = 7, max_tokens: int = 25, eos: tuple[int, ...] = ()) -> list[Job]:
    return [
        Job(number, (seed, number, 1, 2, 3, 4)[: 1 + (seed + number) % 6], max_tokens, eos, at_ms=11.0 * number)
        for number in range(count)
    ]


def run(
    params: dict[str, Any], work: list[Job], models: HashModels | None = None, rates: Any = None, **loop: Any
) -> Watched:
    """Runs, and checks losslessness and that nothing is left behind (invariants 1 and 4)."""
    models = models or Confident()
    settings = {"users": 3, "rtt_ms": 20.0, "limits": LIMITS, **loop}
    watched = Watched(SPEC, SPEC.parse(params), models, far="user", **settings)
    watched.rates = dict(rates or {})
    return checked(watched, work, models, (params, loop))


@pytest.mark.parametrize("rtt_ms", [0.0, 20.0, 200.0])
@pytest.mark.parametrize("variant", range(len(VARIANTS)))
def test_output_equals_greedy(rtt_ms: float, variant: int) -> None:
    rates = {0: 2.0, 1: 50.0, 2: 8.0, 3: 4.0}
    for seed in range(3):
        run(VARIANTS[variant], jobs(seed), Confident(seed), rates, rtt_ms=rtt_ms)


@pytest.mark.parametrize("variant", range(len(VARIANTS)))
def test_output_ends_at_the_end_of_text_and_at_one_token(variant: int) -> None:
    models = Confident(3)
    for max_tokens in (1, 2, 30):
        reference = models.reference(jobs(3, 1, max_tokens)[0])
        run(VARIANTS[variant], jobs(3, 4, max_tokens, eos=(reference[len(reference) // 2],)), models)


def test_requests_wait_for_memory_and_are_all_served() -> None:
    """Room for two requests at a time: the rest take turns, none is thrown out."""
    limits = msgspec.structs.replace(LIMITS, kv_capacity_tokens=64)
    watched = run({}, jobs(0, 8, 25), limits=limits)
    held: dict[int, int] = {}
    for _, batch in watched.batches:
        for member in batch.members:
            held[member.request] = 31
    assert len(held) == 8


def test_a_request_larger_than_the_memory_is_refused_by_name() -> None:
    limits = msgspec.structs.replace(LIMITS, kv_capacity_tokens=20)
    with pytest.raises(RunInvalid, match=r"request 0 may need 26 tokens of cache, .* holds 20"):
        run({}, jobs(0, 1, 25), limits=limits)


def test_a_pass_never_takes_more_tokens_than_the_device() -> None:
    limits = msgspec.structs.replace(LIMITS, max_pass_tokens=19)
    watched = run({"stop": "fixed", "max_draft": 6}, jobs(1, 9), limits=limits)
    sizes = [sum(len(one.tokens) for one in batch.members) for _, batch in watched.batches]
    assert max(sizes) <= 19 and max(len(batch.members) for _, batch in watched.batches) > 1


def test_prompts_are_fed_in_parts_ahead_of_their_drafts() -> None:
    work = [Job(0, tuple(range(40)), 10)]
    watched = run({"prefill_tokens": 16}, work, t_draft_ms=100.0)
    first = [batch.members[0] for _, batch in watched.batches[:3]]
    assert [(one.position, len(one.tokens), one.prefill) for one in first] == [
        (0, 16, True), (16, 16, True), (32, 7, True),
    ]  # fmt: skip


def test_a_pass_takes_no_more_tokens_than_it_is_told() -> None:
    watched = run({"stop": "fixed", "max_draft": 6, "pass_tokens": 14}, jobs(1, 9))
    sizes = [sum(len(one.tokens) for one in batch.members) for _, batch in watched.batches]
    assert max(sizes) == 14  # two drafts of six with the token before each
    parts = run({"pass_tokens": 14}, [Job(0, tuple(range(40)), 10)], t_draft_ms=100.0).batches[:3]
    assert [len(batch.members[0].tokens) for _, batch in parts] == [14, 14, 11]


def test_the_tighter_promise_goes_first_when_only_one_fits() -> None:
    """Three drafts arrive while the target is busy: their order is that of their deadlines, not of their arrival."""
    work = [Job(number, (number, 1), 12, at_ms=0.2 * number) for number in range(4)]
    rates = {1: 2.0, 2: 4.0, 3: 40.0}
    settings: dict[str, Any] = {"users": 4, "rtt_ms": 0.0}
    watched = run({"stop": "fixed", "max_draft": 3, "max_batch": 1}, work, Confident(5), rates, **settings)
    verified = [one.request for _, batch in watched.batches for one in batch.members if not one.prefill]
    by_arrival = run(
        {"stop": "fixed", "max_draft": 3, "max_batch": 1, "urgent": False, "density": False, "deadline_check": False},
        work, Confident(5), rates, **settings,
    )  # fmt: skip
    fcfs = [one.request for _, batch in by_arrival.batches for one in batch.members if not one.prefill]
    assert verified.index(3) < fcfs.index(3) == 3


def test_only_the_classifier_asks_for_margins() -> None:
    assert not run({}, jobs(0, 2)).featured
    assert run({"stop": "svip"}, jobs(0, 2)).featured


def test_a_device_waits_for_its_verdict_unless_told_otherwise() -> None:
    """Stop-and-wait drafts exactly what it sends; drafting on during verification is faster."""
    waits, goes_on = (
        run({"draft_while_waiting": flag, "max_draft": 6}, jobs(2), Confident(2)) for flag in (False, True)
    )
    sent = sum(len(one.tokens) for one in waits.asked)
    assert sum(waits.result.count("draft", f"user{user}") for user in range(3)) == sent
    assert goes_on.result.end_ms < waits.result.end_ms


def text_with(params: WispParams, length: int = 40) -> DraftState:
    return DraftState(Request(1, (7, 8), length, Sampling()), params, params.stop_rule())


def draft(text: DraftState, token: int, confidence: float) -> None:
    job = text.draft(0)
    text.drafted(api.DraftReady(job.job, 1, (token,), (0.5,), (confidence,), 1.0))


def test_the_token_that_ends_a_draft_goes_along_or_stays_as_a_guess() -> None:
    for send, expected in ((True, (4, 5)), (False, (4,))):
        text = text_with(WispParams(stop="confidence", threshold=0.5, send_suspect=send))
        draft(text, 4, 0.9)
        assert not text.drafted_enough
        draft(text, 5, 0.3)
        assert text.drafted_enough and text.ask(0.0) == expected
        text.answered((4, 5) if not send else (4, 6), 0.0)
        assert text.validated[-2:] == [4, 5 if not send else 6] and text.drafts == [] and not text.waiting


class Told:
    """A stop rule that never stops, and notes what it is told."""

    def __init__(self) -> None:
        self.drafts: list[tuple[list[float], float]] = []
        self.verdicts: list[tuple[int, int, float]] = []

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        self.drafts.append(([token.confidence for token in draft], step_ms))
        return False

    def settled(self, drafted: int, accepted: int, waited_ms: float) -> None:
        self.verdicts.append((drafted, accepted, waited_ms))


def test_a_rule_sees_the_draft_under_way_alone_and_how_long_its_verdict_took() -> None:
    rule = Told()
    params = WispParams(max_draft=2, draft_while_waiting=True)
    text = DraftState(Request(1, (7, 8), 40, Sampling()), params, rule)
    for token, confidence in ((4, 0.9), (5, 0.8)):
        draft(text, token, confidence)
    text.ask(100.0)
    for token, confidence in ((6, 0.7), (7, 0.6)):
        draft(text, token, confidence)
    text.answered((4, 5, 6), 130.0)  # the bonus token is the first of those drafted since
    draft(text, 8, 0.5)
    text.ask(140.0)
    text.answered((9,), 150.0)
    draft(text, 1, 0.4)
    seen = [confidences for confidences, _ in rule.drafts]
    assert seen == [[0.9], [0.9, 0.8], [0.7], [0.7, 0.6], [0.6, 0.5], [0.4]]
    assert {step_ms for _, step_ms in rule.drafts} == {1.0}
    assert rule.verdicts == [(2, 2, 30.0), (2, 0, 10.0)]


@pytest.mark.parametrize(
    ("lengths", "expected"), [("even", [6, 6, 6, 6]), ("slack", [1, 1, 6, 1]), ("need", [1, 3, 1, 4])]
)
def test_a_draft_may_be_as_long_as_the_request_is_ahead_or_will_be_behind(lengths: str, expected: list[int]) -> None:
    """At 10 tokens/s. After 100 ms 1 token of 1: 0 ahead, behind by 0 and, as verdicts take 250 ms, 2.5; at 300 ms 9 of
    3: 6 ahead, -3.5 behind; at 1.3 s 11 of 13: 2 behind now, and half of 400 and 200 ms, 2 tokens in it, later."""
    params = WispParams.model_validate({"stop": "fixed", "max_draft": 6, "lengths": lengths})
    text = DraftState(Request(1, (7, 8), 40, Sampling()), params, params.stop_rule(), 10.0, now=1000.0)
    found = [text.longest]
    for asked, answered, tokens in ((850.0, 1100.0, 1), (1100.0, 1300.0, 8), (2100.0, 2300.0, 2)):
        text.ask(asked)
        text.answered(tuple(range(tokens)), answered)
        found.append(text.longest)
    assert found == expected


def test_what_was_drafted_while_waiting_stands_only_if_the_verdict_agrees() -> None:
    params = WispParams(stop="fixed", max_draft=2, draft_while_waiting=True)
    for answer, left in (((4, 5, 6), [7]), ((4, 5, 9), []), ((4, 8), [])):
        text = text_with(params)
        for token in (4, 5):
            draft(text, token, 0.9)
        assert text.ask(0.0) == (4, 5)
        for token in (6, 7):
            draft(text, token, 0.9)
        assert text.drafted_enough
        text.answered(answer, 0.0)
        assert text.drafts == left and text.validated[2:] == list(answer)


def test_parameters_pin_the_weights_they_name() -> None:
    params = WispParams()
    assert params.controller == "tiny-prose" and len(params.controller_sha256 or "") == 64
    assert WispParams.model_validate(params.model_dump()) == params
    with pytest.raises(ValidationError, match="the file has changed"):
        WispParams(controller_sha256="0" * 64)
    with pytest.raises(BadInput, match=r"does not ship; known: .*tiny-prose"):
        WispParams(controller="tiny-pose")
    with pytest.raises(BadInput, match="does not exist; make one with"):
        WispParams(controller="none/there.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stop": "svip", "controller": "tiny-prose"}, "has no controller"),
        ({"stop": "fixed", "threshold": 0.5}, "neither threshold nor suspect"),
        ({"stop": "fixed", "send_suspect": False}, "neither threshold nor suspect"),
        ({"stop": "gain", "threshold": 0.5}, "gain weighs tokens against time"),
        ({"order": "deadline", "density": False}, "none of the parts"),
        ({"gamma": 3}, "gamma"),
    ],
)
def test_what_would_do_nothing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        SPEC.parse(values)


def test_a_profiled_estimate_needs_a_profile() -> None:
    with pytest.raises(BadInput, match="set estimator: online"):
        run({}, jobs(0, 1), limits=api.DeviceLimits())
    run({"estimator": "online"}, jobs(0), limits=api.DeviceLimits())
