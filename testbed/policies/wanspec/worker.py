"""WANSpec's worker: drafts freely, one token a pass, and streams each at once (Algorithm 2 with one branch).

It stops only at the look-ahead bound, at the request's end, or when the request is closed. A lineage is a gapless run
of positions: it ends when a Validation contradicts the worker's own path or outruns it, and the next one starts right
after the validated tokens. The result of a pass that was running when its lineage ended is dropped.
"""

from __future__ import annotations

from testbed.errors import RunInvalid
from testbed.policies.api import Command, Draft, DraftReady, Event, Finish, MessageReceived, RoleContext, Send
from testbed.policies.device import Device
from testbed.policies.session import DraftModel
from testbed.policies.wanspec.params import WanspecParams
from testbed.wire.messages import Close, Open, Speculation, Validation


class _Request:
    def __init__(self, opened: Open, controller: str) -> None:
        self.opened = opened
        self.controller = controller
        self.validated = list(opened.prompt)
        self.path: list[int] = []
        self.lineage = 0
        self.draft_model = DraftModel()
        self.drafting = 0  # lineage of the running pass
        # The last token is never worth drafting: a target pass emits one more token than it verifies.
        self.end = len(opened.prompt) + opened.max_tokens - 1

    def validate(self, validation: Validation) -> None:
        if validation.position != len(self.validated):
            raise RunInvalid(
                f"validation at position {validation.position}, expected {len(self.validated)}: delivery is not ordered"
            )
        tokens = list(validation.tokens)
        self.validated += tokens
        if self.path[: len(tokens)] == tokens:
            del self.path[: len(tokens)]
        else:
            self.path.clear()
            self.lineage += 1


class Worker:
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        self._max_lookahead = params.max_lookahead
        self._device: Device[_Request] = Device()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Open() as opened):
                self._device.open(opened.request, _Request(opened, sender))
            case MessageReceived(_, Validation() as validation):
                state = self._device.get(validation.request)
                assert state is not None
                state.validate(validation)
            case MessageReceived(_, Close(request)):
                self._device.close(request)
                commands.append(Finish(request))
            case DraftReady():
                commands += self._drafted(event)
        return commands + self._device.start(self._next)

    def _next(self, state: _Request, job: int) -> Draft | None:
        if len(state.path) >= self._max_lookahead or len(state.validated) + len(state.path) >= state.end:
            return None
        state.drafting = state.lineage
        return state.draft_model.draft(job, state.opened, state.validated, state.path)

    def _drafted(self, event: DraftReady) -> list[Command]:
        state = self._device.finished(event)
        if state is None:
            return []
        state.draft_model.drafted(event)
        if state.drafting != state.lineage:
            return []
        position = len(state.validated) + len(state.path)
        token, entropy = event.tokens[0], event.entropies[0]
        state.path.append(token)
        return [Send(state.controller, Speculation(event.request, state.lineage, position, token, entropy))]
