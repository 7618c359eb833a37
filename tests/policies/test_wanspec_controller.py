"""The controller's decisions one event at a time: when it drafts here, when it waits, what it tells the worker."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.policies import registry
from testbed.policies.api import (
    Command,
    Draft,
    DraftReady,
    LinkSample,
    MessageReceived,
    Role,
    RoleContext,
    Send,
    Verify,
    VerifyReady,
)
from testbed.wire.messages import Branches, Close, Open, Request, Tokens, Validation

RTT_MS = 20.0
CERTAIN, UNSURE = 0.1, 0.9


def controller(measured: bool = True, **params: Any) -> Role:
    peers = {"user": ("user0",), "target": ("target0",), "drafter": ("drafter0",)}
    spec = registry.get("wanspec")
    role = spec.roles["target"](spec.parse({"k": 2, **params}), RoleContext("target0", peers))
    if measured:
        role.handle(LinkSample("drafter0", RTT_MS), 0.0)
    return role


def opened(role: Role, now: float = 0.0, max_tokens: int = 20) -> list[Command]:
    return role.handle(MessageReceived("user0", Request(0, (1, 2, 3), max_tokens, Sampling())), now)


def hears(role: Role, number: int, token: int, now: float) -> list[Command]:
    """The worker's next draft, which goes on from the one before it, the first from the prompt."""
    return role.handle(MessageReceived("drafter0", Branches(0, number, 3, (), (token,), (0.9,))), now)


def after_full_acceptance(entropy: float, **params: Any) -> tuple[Role, list[Command]]:
    """Bootstrapped by two worker tokens that come when the round trip is over; verified and accepted at 125 ms."""
    role = controller(**params)
    opened(role)
    role.handle(DraftReady(0, 0, (4,), (0.1,), (0.9,), 7.5), 100.0)
    (verify,) = hears(role, 0, 4, 101.0) + hears(role, 1, 5, 102.0)
    assert isinstance(verify, Verify) and verify.tokens[-2:] == (4, 5)
    return role, role.handle(VerifyReady(verify.job, 0, 2, (4, 5, 6), (0.1, 0.1, entropy), 23.0), 125.0)


def kinds(commands: list[Command]) -> list[type]:
    return [type(command.message) if isinstance(command, Send) else type(command) for command in commands]


def test_a_request_opens_the_worker_and_drafts_here_during_the_first_round_trip() -> None:
    assert kinds(opened(controller())) == [Open, Draft]


def test_before_a_round_trip_is_measured_the_controller_does_not_wait_for_it() -> None:
    assert kinds(opened(controller(measured=False))) == [Open, Draft]
    assert kinds(opened(controller(measured=False, rtt_ms=0.0))) == [Open]


def test_a_verdict_goes_to_user_and_worker() -> None:
    _, commands = after_full_acceptance(CERTAIN)
    assert commands[0] == Send("user0", Tokens(0, 3, (4, 5, 6), False))
    assert commands[1] == Send("drafter0", Validation(0, 3, (4, 5, 6)))


@pytest.mark.parametrize(
    ("entropy", "phi", "drafts_here"), [(CERTAIN, 0.5, False), (UNSURE, 0.5, True), (CERTAIN, None, True)]
)
def test_an_unsure_bonus_token_means_a_stale_worker(entropy: float, phi: float | None, drafts_here: bool) -> None:
    _, commands = after_full_acceptance(entropy, phi=phi)
    assert kinds(commands) == [Tokens, Validation, *([Draft] if drafts_here else [])]


def test_a_worker_token_that_contradicts_the_bonus_starts_local_drafting_at_once() -> None:
    role, _ = after_full_acceptance(CERTAIN)
    assert kinds(hears(role, 2, 9, 130.0)) == [Draft]  # the validation left at 125: stale until 145


def test_a_contradiction_makes_the_worker_stale_only_for_one_round_trip_after_the_validation() -> None:
    role, _ = after_full_acceptance(CERTAIN)
    assert hears(role, 2, 9, 145.0) == []


def test_without_the_transition_a_contradiction_is_waited_out() -> None:
    role, _ = after_full_acceptance(CERTAIN, contradiction=False)
    assert hears(role, 2, 9, 130.0) == []


def test_a_worker_token_that_confirms_the_bonus_is_consumed() -> None:
    role, _ = after_full_acceptance(CERTAIN)
    assert hears(role, 2, 6, 130.0) == []
    assert hears(role, 3, 7, 131.0) == []
    (verify,) = hears(role, 4, 8, 132.0)
    assert isinstance(verify, Verify) and verify.tokens == (6, 7, 8) and verify.remote_drafts == 2


@pytest.mark.parametrize(("now", "drafts_here"), [(130.0, True), (138.0, False)])
def test_t_draft_aware_waits_when_the_worker_is_nearer_than_one_step(now: float, drafts_here: bool) -> None:
    """Stale until 145 and a local step of 7.5 ms: worth it at 130, not at 138, where the listing would still draft."""
    role, _ = after_full_acceptance(CERTAIN, rule="t_draft_aware")
    assert kinds(hears(role, 2, 9, now)) == ([Draft] if drafts_here else [])
    role, _ = after_full_acceptance(CERTAIN, rule="literal")
    assert kinds(hears(role, 2, 9, now)) == [Draft]


def test_a_local_pass_beaten_by_the_worker_is_dropped() -> None:
    role = controller()
    (_, draft) = opened(role)
    assert isinstance(draft, Draft)
    assert hears(role, 0, 4, 5.0) == []  # the device is busy; no second job
    (verify,) = hears(role, 1, 5, 6.0) + role.handle(DraftReady(draft.job, 0, (4,), (0.1,), (0.9,), 7.5), 7.5)
    assert isinstance(verify, Verify) and verify.remote_drafts == 2


def test_the_last_delivery_closes_the_worker() -> None:
    role = controller()
    (_, verify) = opened(role, max_tokens=1)
    assert isinstance(verify, Verify) and verify.drafts == 0
    commands = role.handle(VerifyReady(verify.job, 0, 0, (4,), (0.1,), 23.0), 23.0)
    assert commands[0] == Send("user0", Tokens(0, 3, (4,), True))
    assert commands[-1] == Send("drafter0", Close(0))
    assert hears(role, 0, 4, 30.0) == []  # late, not wrong


@pytest.mark.parametrize(("contradiction", "drafts_here"), [(True, True), (False, False)])
def test_a_bonus_the_worker_already_contradicted_needs_no_entropy(contradiction: bool, drafts_here: bool) -> None:
    """The worker's token for the bonus position is here before the verdict is."""
    role = controller(contradiction=contradiction)
    opened(role)
    role.handle(DraftReady(0, 0, (4,), (0.1,), (0.9,), 7.5), 100.0)
    (verify,) = hears(role, 0, 4, 101.0) + hears(role, 1, 5, 102.0)
    assert isinstance(verify, Verify)
    hears(role, 2, 9, 110.0)
    commands = role.handle(VerifyReady(verify.job, 0, 2, (4, 5, 6), (0.1, 0.1, CERTAIN), 23.0), 125.0)
    assert kinds(commands) == [Tokens, Validation, *([Draft] if drafts_here else [])]
