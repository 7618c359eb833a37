"""WANSpec's worker: drafts freely, one token a pass, and streams each at once (Algorithm 2 with one branch).

It stops only at the look-ahead bound, at the request's end, or when the request is closed. A lineage is a gapless run
of positions: it ends when a Validation contradicts the worker's own path or outruns it, and the next one starts right
after the validated tokens. The result of a pass that was running when its lineage ended is dropped.
"""

from __future__ import annotations

from testbed.policies.api import Command, Draft, DraftReady, RoleContext, Send
from testbed.policies.session import DraftModel
from testbed.policies.wanspec.follower import Followed, Follower
from testbed.policies.wanspec.params import WanspecParams
from testbed.wire.messages import Open, Speculation, Validation


class _Request(Followed):
    def __init__(self, opened: Open, controller: str) -> None:
        super().__init__(opened, controller)
        self.path: list[int] = []
        self.lineage = 0
        self.draft_model = DraftModel()
        self.drafting = 0  # lineage of the running pass

    def validate(self, validation: Validation) -> None:
        super().validate(validation)
        tokens = list(validation.tokens)
        if self.path[: len(tokens)] == tokens:
            del self.path[: len(tokens)]
        else:
            self.path.clear()
            self.lineage += 1


class Worker(Follower[_Request, DraftReady]):
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        super().__init__()
        self._max_lookahead = params.max_lookahead

    def _opened(self, opened: Open, controller: str) -> _Request:
        return _Request(opened, controller)

    def _next(self, state: _Request, job: int) -> Draft | None:
        if len(state.path) >= self._max_lookahead or len(state.validated) + len(state.path) >= state.end:
            return None
        state.drafting = state.lineage
        return state.draft_model.draft(job, state.opened, state.validated, state.path)

    def _drafted(self, state: _Request, event: DraftReady) -> list[Command]:
        state.draft_model.drafted(event)
        if state.drafting != state.lineage:
            return []
        position = len(state.validated) + len(state.path)
        token, entropy = event.tokens[0], event.entropies[0]
        state.path.append(token)
        return [Send(state.controller, Speculation(event.request, state.lineage, position, token, entropy))]
