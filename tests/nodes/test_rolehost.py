"""A phase that is over does nothing more: a request that falls due later must not disturb the next phase."""

from __future__ import annotations

import time
from typing import Any

from testbed.decoding.sampling import Sampling
from testbed.nodes.control import PlannedRequest
from testbed.nodes.recorder import Recorder
from testbed.nodes.rolehost import RoleHost
from testbed.policies.api import Command, Event, RequestArrived, Send
from testbed.wire.messages import Close, Message

ONE = PlannedRequest(1, "p", (5, 6), 4, Sampling(seed=3), 2, due_ms=10.0, slo_tokens_per_s=8.0)


class Asks:
    """A role that tells the target of every event."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def handle(self, event: Event, now: float) -> list[Command]:
        self.seen.append(event)
        return [Send("target0", Close(1))]


class Wire:
    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, to: str, message: Message) -> None:
        self.sent.append(message)


def host() -> tuple[RoleHost, Asks, Wire]:
    role, wire = Asks(), Wire()
    transport: Any = wire
    return RoleHost(role, transport, None, Recorder("p", 0, "user0", "near"), (1, 1)), role, wire


def test_a_due_request_reaches_the_role_with_its_promise_and_without_its_prompts_name() -> None:
    made, role, wire = host()
    made.issue(ONE, time.monotonic_ns())
    assert role.seen == [RequestArrived(1, (5, 6), 4, Sampling(seed=3), 2, 8.0)]
    assert len(wire.sent) == 1


def test_a_request_that_falls_due_after_its_phase_was_given_up_is_not_issued() -> None:
    made, role, wire = host()
    made.stop()
    made.issue(ONE, time.monotonic_ns())
    assert not role.seen and not wire.sent
