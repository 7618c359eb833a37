"""A user's own device: it drafts until its draft ends, asks the server to verify, and hands out what comes back.

Rule kept: a user gets the tokens of verdicts only, and at most one draft of a request is at the server, unless a policy
asks again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from testbed.policies.api import (
    Command,
    Draft,
    DraftReady,
    Emit,
    Event,
    Finish,
    MessageReceived,
    RequestArrived,
    RoleContext,
    Send,
)
from testbed.policies.edge.draft_state import EdgeDraftState
from testbed.policies.jobqueue import JobQueue
from testbed.wire.messages import Drafts, Request, Tokens

Kept = TypeVar("Kept", bound=EdgeDraftState)


class EdgeDrafter(ABC, Generic[Kept]):
    """Role `user`: one device, which may have several requests open."""

    def __init__(self, context: RoleContext, draft_while_waiting: bool) -> None:
        self._server = context.peers["target"][0]
        self._prefixes = context.prefixes
        self._queue: JobQueue[Kept] = JobQueue()
        self._draft_while_waiting = draft_while_waiting

    @abstractmethod
    def text_of(self, request: Request, event: RequestArrived, now: float) -> Kept:
        """What is kept of a request that arrived."""

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        if type(event) is DraftReady:
            text = self._queue.finished(event)
            if text is not None:
                text.drafted(event)
                commands += self._ask_if_drafted(text, now)
        elif type(event) is MessageReceived:
            if type(event.message) is Tokens:
                commands += self._answered(event.message, now)
        elif type(event) is RequestArrived:
            commands += self._open(event, now)
        return commands + self._queue.start(self._next)

    def _open(self, event: RequestArrived, now: float) -> list[Command]:
        number = event.request
        request = Request(number, event.prompt, event.max_tokens, event.sampling, event.eos)
        text = self.text_of(request, event, now)
        self._queue.open(number, text)
        return [Send(self._server, request), *self._ask_if_drafted(text, now)]

    def _next(self, text: Kept, job: int) -> Draft | None:
        if text.drafted_enough or (text.waiting and not self._draft_while_waiting):
            return None
        return text.draft(job)

    def _answered(self, answer: Tokens, now: float) -> list[Command]:
        text = self._queue.get(answer.request)
        assert text is not None and answer.position == len(text.validated)
        commands: list[Command] = [Emit(answer.request, answer.tokens)]
        if answer.final:
            self._queue.close(answer.request)
            return [*commands, Finish(answer.request)]
        text.answered(answer.tokens, now)
        return [*commands, *self._ask_if_drafted(text, now)]

    def _ask_if_drafted(self, text: Kept, now: float) -> list[Command]:
        return self._ask(text, now) if text.drafted_enough and not text.waiting else []

    def _ask(self, text: Kept, now: float) -> list[Command]:
        position = len(text.validated)
        return [Send(self._server, Drafts(text.request.request, position, text.ask(now)))]
