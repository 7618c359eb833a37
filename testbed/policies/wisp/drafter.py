"""WISP's device: the user's own machine drafts until its speculation controller says stop, then asks for verification.

It waits for the verdict, as the paper's does (our reading: no overlap is mentioned), unless `draft_while_waiting`.
"""

from __future__ import annotations

from testbed.policies.api import Command, RequestArrived, RoleContext, Send
from testbed.policies.edge.edge import EdgeDrafter
from testbed.policies.wisp.draft_state import DraftState
from testbed.policies.wisp.params import WispParams
from testbed.wire.messages import Request, Slo


class Drafter(EdgeDrafter[DraftState]):
    def __init__(self, params: WispParams, context: RoleContext) -> None:
        super().__init__(context, params.draft_while_waiting)
        self._params = params
        self._rule = params.stop_rule()

    def text_of(self, request: Request, event: RequestArrived, now: float) -> DraftState:
        return DraftState(request, self._params, self._rule, event.slo_tokens_per_s, now, self._prefixes)

    def _open(self, event: RequestArrived, now: float) -> list[Command]:
        rate = event.slo_tokens_per_s
        promised: list[Command] = [] if rate is None else [Send(self._server, Slo(event.request, rate))]
        return promised + super()._open(event, now)
