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
    Draft,
    DraftReady,
    Emit,
    Event,
    Finish,
    MessageReceived,
    RequestArrived,
    RoleContext,
    Send,
    SetTimer,
    TimerFired,
)
from testbed.policies.device import Device
from testbed.policies.sled.params import SledParams
from testbed.policies.sled.text import Text
from testbed.wire.messages import Close, Drafts, Request, Tokens


class Drafter:
    """Role `user`: one device, which may have several requests open."""

    def __init__(self, params: SledParams, context: RoleContext) -> None:
        self._params = params
        self._server = context.peers["target"][0]
        self._device: Device[Text] = Device()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case RequestArrived(number, prompt, max_tokens, sampling, eos):
                request = Request(number, prompt, max_tokens, sampling, eos)
                text = Text(request, self._params)
                self._device.open(number, text)
                commands += [Send(self._server, request), *self._ask_if_drafted(text, now)]
            case DraftReady():
                drafted = self._device.finished(event)
                if drafted is not None:
                    drafted.drafted(event)
                    commands += self._ask_if_drafted(drafted, now)
            case MessageReceived(_, Tokens() as answer):
                commands += self._answered(answer, now)
            case TimerFired(name):
                late = self._device.get(int(name))
                if late is not None and late.waiting:
                    commands += self._timed_out(late, now)
        return commands + self._device.start(self._next)

    def _next(self, text: Text, job: int) -> Draft | None:
        if text.drafted_enough or (text.waiting and not self._params.drafts_while_waiting):
            return None
        text.started()
        return text.model.draft(job, text.request, text.validated, text.drafts)

    def _answered(self, answer: Tokens, now: float) -> list[Command]:
        text = self._device.get(answer.request)
        if self._params.fall_back is not None and (text is None or answer.position < len(text.validated)):
            return []  # it judges tokens that were handed out since
        assert text is not None and answer.position == len(text.validated)
        commands: list[Command] = [Emit(answer.request, answer.tokens)]
        if text.waiting and self._params.timeout_ms is not None:
            commands.append(CancelTimer(str(answer.request)))
        if answer.final:
            self._device.close(answer.request)
            return [*commands, Finish(answer.request)]
        text.answered(answer.tokens)
        return [*commands, *self._ask_if_drafted(text, now)]

    def _timed_out(self, text: Text, now: float) -> list[Command]:
        text.failures += 1
        if self._params.fall_back is None or text.failures < self._params.fall_back or not text.drafts:
            return self._ask(text, now)
        number, given = text.request.request, text.released()
        commands: list[Command] = [Emit(number, given.tokens)]
        if given.final:
            self._device.close(number)
            return [*commands, Send(self._server, Close(number)), Finish(number)]
        return [*commands, Send(self._server, text.rest()), *self._ask_if_drafted(text, now)]

    def _ask_if_drafted(self, text: Text, now: float) -> list[Command]:
        return self._ask(text, now) if text.drafted_enough and not text.waiting else []

    def _ask(self, text: Text, now: float) -> list[Command]:
        number = text.request.request
        asked: list[Command] = [Send(self._server, Drafts(number, len(text.validated), text.ask()))]
        if self._params.timeout_ms is not None:
            asked.append(SetTimer(str(number), now + self._params.timeout_ms))
        return asked
