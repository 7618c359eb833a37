"""Standard speculative decoding at one site: draft k tokens, verify them in one target pass, repeat.

The drafter is co-located: the target's node runs both models, one after the other, on one device, and many requests
share the passes of each. This is the baseline against which offloading policies count the draft passes they take away
from the target's site.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from testbed.files.strict import TOKENS
from testbed.policies.api import (
    BatchReady,
    Command,
    DraftBatchReady,
    DraftReady,
    Event,
    MessageReceived,
    RoleContext,
    VerifyReady,
)
from testbed.policies.batching import BatchingParams
from testbed.policies.passqueue import Answer, PassQueue, Wish
from testbed.policies.session import Session
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.wire.messages import Request


class SpeculativeParams(BatchingParams):
    k: Annotated[int, TOKENS] = Field(default=2, ge=1, le=32, description="drafts verified per target pass")
    draft: Literal["greedy", "sampled"] = Field(
        default="greedy",
        description="how the drafter picks tokens of sampled requests; greedy requests always draft greedily",
    )
    top_q: Annotated[int, TOKENS] = Field(
        default=0, ge=0, description="a sampled draft is drawn from this many most likely tokens; 0: from all"
    )

    @property
    def round_tokens(self) -> int:
        return self.k + 1


class _Round:
    """A session and the drafts that wait for their verification."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.drafted: DraftReady | None = None


class Target:
    def __init__(self, params: SpeculativeParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._params = params
        self._queue: PassQueue[_Round] = PassQueue(params, context.limits)

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._queue.open(request, _Round(Session(request, sender, self._prefixes)))
            case DraftReady() | DraftBatchReady() | VerifyReady() | BatchReady():
                for round_, answer in self._queue.finished(event):
                    commands += self._answered(round_, answer)
        return commands + self._queue.start(self._next)

    def _answered(self, round_: _Round, answer: Answer) -> list[Command]:
        if isinstance(answer, DraftReady):
            round_.session.draft_model.drafted(answer)
            round_.drafted = answer
            return []
        assert isinstance(answer, VerifyReady)
        round_.drafted = None
        settled = round_.session.verified(answer)
        if settled.final:
            self._queue.close(answer.request)
        return [*round_.session.answer(settled)]

    def _next(self, round_: _Round) -> Wish:
        session, params, drafted = round_.session, self._params, round_.drafted
        if drafted is not None:
            return Wish(False, lambda job: session.verify(job, drafted.tokens, drafted.rows))
        depth = session.depth(params.k)
        if depth == 0:
            return Wish(False, session.verify)
        sampled = params.draft == "sampled" and not session.request.sampling.greedy
        model, request, validated = session.draft_model, session.request, session.validated
        return Wish(True, lambda job: model.draft(job, request, validated, (), depth, sampled, params.top_q))


SPEC = PolicySpec(
    name="speculative",
    description="speculative decoding with the drafter at the target's site",
    params=SpeculativeParams,
    roles={"user": make_user, "target": Target},
    models={"target": frozenset({"target", "draft"})},
)
