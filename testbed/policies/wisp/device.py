"""WISP's device: the user's own machine drafts until its speculation controller says stop, then asks for verification.

It waits for the verdict, as the paper's does (our reading: no overlap is mentioned), unless `draft_while_waiting`.
"""

from __future__ import annotations

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
from testbed.policies.device import Device
from testbed.policies.wisp.params import WispParams
from testbed.policies.wisp.text import Text
from testbed.wire.messages import Drafts, Request, Slo, Tokens


class Drafter:
    """Role `user`: one device, which may have several requests open."""

    def __init__(self, params: WispParams, context: RoleContext) -> None:
        self._params = params
        self._rule = params.stop_rule()
        self._server = context.peers["target"][0]
        self._device: Device[Text] = Device()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case RequestArrived():
                commands += self._open(event)
            case DraftReady():
                text = self._device.finished(event)
                if text is not None:
                    text.drafted(event)
                    commands += self._ask_if_drafted(text)
            case MessageReceived(_, Tokens() as answer):
                commands += self._answered(answer)
        return commands + self._device.start(self._next)

    def _open(self, event: RequestArrived) -> list[Command]:
        number = event.request
        request = Request(number, event.prompt, event.max_tokens, event.sampling, event.eos)
        text = Text(request, self._params, self._rule)
        self._device.open(number, text)
        rate = event.slo_tokens_per_s
        promised: list[Command] = [] if rate is None else [Send(self._server, Slo(number, rate))]
        return [*promised, Send(self._server, request), *self._ask_if_drafted(text)]

    def _next(self, text: Text, job: int) -> Draft | None:
        if text.drafted_enough or (text.waiting and not self._params.draft_while_waiting):
            return None
        return text.draft(job)

    def _answered(self, answer: Tokens) -> list[Command]:
        text = self._device.get(answer.request)
        assert text is not None and answer.position == len(text.validated)
        commands: list[Command] = [Emit(answer.request, answer.tokens)]
        if answer.final:
            self._device.close(answer.request)
            return [*commands, Finish(answer.request)]
        text.answered(answer.tokens)
        return [*commands, *self._ask_if_drafted(text)]

    def _ask_if_drafted(self, text: Text) -> list[Command]:
        if text.waiting or not text.drafted_enough:
            return []
        position = len(text.validated)
        return [Send(self._server, Drafts(text.request.request, position, text.ask()))]
