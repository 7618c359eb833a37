"""A role is told each message once and in the order of sending, however it comes (invariant 9)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.policies import api, registry
from testbed.policies.once import Once
from testbed.testing import HashModels, Job, Loop
from testbed.wire import messages as wire

PROMPT = (1, 2, 3)
OPEN = wire.Open(7, PROMPT, 20, Sampling())
REQUEST = wire.Request(7, PROMPT, 20, Sampling())


class Listener:
    """A role that hears; it answers only as it is told to."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.answers: list[list[api.Command]] = []

    def handle(self, event: api.Event, now: float) -> list[api.Command]:
        self.heard.append(event.message if isinstance(event, api.MessageReceived) else event)
        return self.answers.pop(0) if self.answers else []


def told(*messages: wire.Message, first: api.Event | None = None) -> list[Any]:
    """What a role hears of these messages, which arrive in this order."""
    role = Listener()
    once = Once(role)
    for event in ([first] if first is not None else []) + [api.MessageReceived("peer", one) for one in messages]:
        once.handle(event, 0.0)
    return role.heard[first is not None :]


def validation(position: int, *tokens: int) -> wire.Validation:
    return wire.Validation(7, position, tokens)


def test_what_comes_twice_is_heard_once() -> None:
    sent: list[Any] = [OPEN, validation(3, 4, 5), validation(5, 6), wire.Close(7)]
    assert told(*[one for one in sent for _ in range(2)]) == sent
    assert told(*sent, *sent) == sent  # all of it again, after the end


def test_what_overtook_waits() -> None:
    sent: list[Any] = [OPEN, validation(3, 4, 5), validation(5, 6), validation(6, 7)]
    assert told(sent[3], sent[1], sent[2], sent[0]) == sent


def test_a_close_that_overtook_its_open_closes_it_for_good() -> None:
    assert told(wire.Close(7), OPEN, validation(3, 4)) == []


def test_a_request_may_come_again_with_a_longer_text_and_is_another_round() -> None:
    rest = wire.Request(7, (*PROMPT, 4, 5), 18, Sampling())
    early = wire.Drafts(7, 5, (6,))
    assert told(REQUEST, early, wire.Drafts(7, 3, (4,)), rest, REQUEST) == [
        REQUEST,
        wire.Drafts(7, 3, (4,)),
        rest,
        early,
    ]


def test_asking_again_for_the_same_is_the_roles_own_affair_and_for_what_is_answered_is_late() -> None:
    role = Listener()
    once, asked = Once(role), wire.Drafts(7, 3, (4,))
    for message in (REQUEST, asked, asked):
        once.handle(api.MessageReceived("user0", message), 0.0)
    assert role.heard == [REQUEST, asked, asked]
    role.answers = [[api.Send("user0", wire.Tokens(7, 3, (4, 5), False))]]
    once.handle(api.VerifyReady(0, 7, 1, (4, 5), (0.0, 0.0), 1.0), 0.0)
    once.handle(api.MessageReceived("user0", asked), 0.0)
    assert len(role.heard) == 4


def test_nodes_of_a_tree_follow_their_numbers() -> None:
    one, two = wire.Branches(7, 0, 3, (-1, 0), (4, 5), (0.9, 0.9)), wire.Branches(7, 2, 3, (1,), (6,), (0.9,))
    assert told(REQUEST, two, one, two) == [REQUEST, one, two]


def test_users_get_answers_in_order_and_each_once() -> None:
    arrived = api.RequestArrived(7, PROMPT, 20, Sampling())
    role = registry.get("autoregressive").role("user", None, api.RoleContext("user0", {"target": ["target0"]}))
    role.handle(arrived, 0.0)
    chunks = [wire.Tokens(7, 3, (4, 5), False), wire.Tokens(7, 5, (6,), False), wire.Tokens(7, 6, (7,), True)]
    got: list[int] = []
    for index in (1, 0, 1, 2, 0, 2):
        for command in role.handle(api.MessageReceived("target0", chunks[index]), 0.0):
            got += command.tokens if isinstance(command, api.Emit) else []
    assert got == [4, 5, 6, 7]


class Unruly(Loop):
    """Messages come in any order, and some twice: none is lost."""

    def _do(self, node: str, command: api.Command, now: float) -> None:
        if not isinstance(command, api.Send):
            super()._do(node, command, now)
            return
        chance = self.__dict__.setdefault("_chance", random.Random(self.models.seed))  # type: ignore[attr-defined]
        for _ in range(chance.choice((1, 1, 2, 3))):
            late_ms = chance.choice((0.0, 3.0, 40.0, 400.0)) * chance.random()
            self._at(now + late_ms, command.to, api.MessageReceived(node, command.message))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("policy", "params"),
    [
        ("autoregressive", {}),
        ("speculative", {"k": 3}),
        ("wanspec", {"k": 2}),
        ("wanspec", {"branches": 2}),
        ("wanspec", {"rule": "expected_arrival"}),
        ("sled", {}),
        ("sled", {"timeout_ms": 60}),
        ("wisp", {"stop": "fixed", "estimator": "online"}),
        ("centralised", {}),
    ],
)
def test_outputs_stay_whatever_order_messages_come_in(policy: str, params: dict[str, Any], seed: int) -> None:
    spec = registry.get(policy)
    parsed = spec.parse(params)
    models = HashModels(seed=seed)
    loop = Unruly(spec, parsed, models, rtt_ms=20.0, users=2)
    jobs = [Job(number, (number, 5, 6), 25, at_ms=10.0 * number) for number in range(4)]
    result = loop.run(jobs)
    for job in jobs:
        assert tuple(result.outputs[job.request]) == models.reference(job)
