"""The worker of one branch, one event at a time: it drafts on until a bound, and starts anew where it was wrong."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.errors import RunInvalid
from testbed.policies import registry
from testbed.policies.api import Command, Draft, DraftReady, Finish, MessageReceived, Role, RoleContext, Send
from testbed.wire.messages import Branches, Close, Open, Validation


class Drafting:
    """A worker and its device: `drafts` finishes the running pass with this token."""

    def __init__(self, max_tokens: int = 20, **params: Any) -> None:
        spec = registry.get("wanspec")
        self.role: Role = spec.roles["drafter"](spec.parse(params), RoleContext("drafter0", {}))
        self.running: Draft | None = None
        self.hears(Open(0, (1, 2, 3), max_tokens, Sampling()))

    def hears(self, message: Open | Validation | Close) -> list[Send]:
        return self._take(self.role.handle(MessageReceived("target0", message), 0.0))

    def drafts(self, token: int) -> list[Branches]:
        assert self.running is not None, "the worker waits"
        event = DraftReady(self.running.job, 0, (token,), (0.1,), (0.9,), 7.5)
        self.running = None
        sent = self._take(self.role.handle(event, 0.0))
        return [each.message for each in sent if isinstance(each.message, Branches)]

    def _take(self, commands: list[Command]) -> list[Send]:
        for command in commands:
            if isinstance(command, Draft):
                assert self.running is None
                self.running = command
        return [command for command in commands if isinstance(command, Send)]


def streamed(number: int, position: int, token: int, parents: tuple[int, ...] = ()) -> list[Branches]:
    """A draft after the one before it, or after a text of so many tokens."""
    return [Branches(0, number, position, parents, (token,), (0.9,))]


def test_it_streams_each_token_and_drafts_on() -> None:
    worker = Drafting()
    assert worker.drafts(4) == streamed(0, 3, 4)
    assert worker.drafts(5) == streamed(1, 3, 5)


def test_a_validation_that_agrees_keeps_the_path_and_the_running_pass() -> None:
    worker = Drafting()
    worker.drafts(4)
    worker.drafts(5)
    worker.hears(Validation(0, 3, (4, 5)))
    assert worker.drafts(6) == streamed(2, 5, 6, (-1,))


@pytest.mark.parametrize("validated", [(4, 9), (4, 5, 6)], ids=["contradicted", "outrun"])
def test_a_validation_that_differs_or_outruns_starts_a_path_after_it(validated: tuple[int, ...]) -> None:
    worker = Drafting()
    worker.drafts(4)
    worker.drafts(5)
    worker.hears(Validation(0, 3, validated))
    assert worker.drafts(6) == []  # the pass that was running has a void context
    assert worker.running is not None and worker.running.tokens[-1] == validated[-1]
    assert worker.drafts(7) == streamed(2, 3 + len(validated), 7, (-1,))


def test_it_waits_at_the_lookahead_bound_for_a_validation() -> None:
    worker = Drafting(max_lookahead=3)
    for token in (4, 5, 6):
        worker.drafts(token)
    assert worker.running is None
    worker.hears(Validation(0, 3, (4,)))
    assert worker.drafts(7) == streamed(3, 4, 7)


def test_it_never_drafts_the_last_token_of_an_output() -> None:
    """A target pass emits one token more than it verifies, so a draft of the last one could not be used."""
    worker = Drafting(max_tokens=3)
    worker.drafts(4)
    worker.drafts(5)
    assert worker.running is None


def test_close_frees_the_caches_and_the_running_pass_is_forgotten() -> None:
    worker = Drafting()
    assert worker.role.handle(MessageReceived("target0", Close(0)), 0.0) == [Finish(0)]
    assert worker.drafts(4) == []
    assert worker.running is None


def test_a_validation_out_of_order_makes_the_run_invalid() -> None:
    with pytest.raises(RunInvalid, match="arrived out of order"):
        Drafting().hears(Validation(0, 5, (4,)))
