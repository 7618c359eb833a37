"""SLED's device: the user's own machine drafts, asks the server to verify, and goes on drafting while it waits.

A draft ends with its first token below the confidence threshold, which still goes along, or at `max_draft`. Without an
answer for `timeout_ms` the device asks again, with what it drafted since; the server knows repeated requests by their
position. An answer is never missing for good, since links deliver everything, so tokens are handed out unverified only
where `fall_back` says so; an answer to what was asked before that is void.
"""

from __future__ import annotations

from testbed.policies.api import (
    CancelTimer,
    Command,
    Emit,
    Event,
    Finish,
    RequestArrived,
    RoleContext,
    Send,
    SetTimer,
    TimerFired,
)
from testbed.policies.edge.edge import EdgeDrafter
from testbed.policies.sled.draft_state import DraftState
from testbed.policies.sled.params import SledParams
from testbed.wire.messages import Close, Request, Tokens


class Drafter(EdgeDrafter[DraftState]):
    def __init__(self, params: SledParams, context: RoleContext) -> None:
        super().__init__(context, params.drafts_while_waiting)
        self._params = params

    def text_of(self, request: Request, event: RequestArrived, now: float) -> DraftState:
        return DraftState(request, self._params, self._prefixes)

    def handle(self, event: Event, now: float) -> list[Command]:
        if not isinstance(event, TimerFired):
            return super().handle(event, now)
        late = self._queue.get(int(event.name))
        commands = self._timed_out(late, now) if late is not None and late.waiting else []
        return commands + self._queue.start(self._next)

    def _answered(self, answer: Tokens, now: float) -> list[Command]:
        text = self._queue.get(answer.request)
        if self._params.fall_back is not None and (text is None or answer.position < len(text.validated)):
            return []  # it judges tokens that were handed out since
        waited = text is not None and text.waiting and self._params.timeout_ms is not None
        called_off: list[Command] = [CancelTimer(str(answer.request))] if waited else []
        return called_off + super()._answered(answer, now)

    def _timed_out(self, text: DraftState, now: float) -> list[Command]:
        text.failures += 1
        if self._params.fall_back is None or text.failures < self._params.fall_back or not text.drafts:
            return self._ask(text, now)
        number, given = text.request.request, text.released()
        commands: list[Command] = [Emit(number, given.tokens)]
        if given.final:
            self._queue.close(number)
            return [*commands, Send(self._server, Close(number)), Finish(number)]
        return [*commands, Send(self._server, text.rest()), *self._ask_if_drafted(text, now)]

    def _ask(self, text: DraftState, now: float) -> list[Command]:
        asked = super()._ask(text, now)
        if self._params.timeout_ms is not None:
            asked.append(SetTimer(str(text.request.request), now + self._params.timeout_ms))
        return asked
