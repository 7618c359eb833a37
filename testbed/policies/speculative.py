"""Standard speculative decoding at one site: draft k tokens, verify them in one target pass, repeat.

The drafter is co-located: the target's node runs both models, one after the other, on one device. This is the baseline
against which offloading policies count the draft passes they take away from the target's site.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from testbed.files.strict import TOKENS, Strict
from testbed.policies.api import Command, Draft, DraftReady, Event, MessageReceived, RoleContext, Verify, VerifyReady
from testbed.policies.jobqueue import JobQueue
from testbed.policies.session import Session
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.wire.messages import Request


class SpeculativeParams(Strict):
    k: Annotated[int, TOKENS] = Field(default=2, ge=1, le=32, description="drafts verified per target pass")
    draft: Literal["greedy", "sampled"] = Field(
        default="greedy",
        description="how the drafter picks tokens of sampled requests; greedy requests always draft greedily",
    )
    top_q: Annotated[int, TOKENS] = Field(
        default=0, ge=0, description="a sampled draft is drawn from this many most likely tokens; 0: from all"
    )


class _Round:
    """A session and the drafts that wait for their verification."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.drafted: DraftReady | None = None


class Target:
    def __init__(self, params: SpeculativeParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._params = params
        self._queue: JobQueue[_Round] = JobQueue()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._queue.open(request.request, _Round(Session(request, sender, self._prefixes)))
            case DraftReady():
                round_ = self._queue.finished(event)
                assert round_ is not None
                round_.session.draft_model.drafted(event)
                round_.drafted = event
            case VerifyReady():
                round_ = self._queue.finished(event)
                assert round_ is not None
                round_.drafted = None
                settled = round_.session.verified(event)
                commands += round_.session.answer(settled)
                if settled.final:
                    self._queue.close(event.request)
        return commands + self._queue.start(self._next)

    def _next(self, round_: _Round, job: int) -> Draft | Verify:
        session, params = round_.session, self._params
        depth = session.depth(params.k)
        if round_.drafted is not None:
            return session.verify(job, round_.drafted.tokens, round_.drafted.rows)
        if depth == 0:
            return session.verify(job)
        sampled = params.draft == "sampled" and not session.request.sampling.greedy
        return session.draft_model.draft(job, session.request, session.validated, (), depth, sampled, params.top_q)


SPEC = PolicySpec(
    name="speculative",
    description="speculative decoding with the drafter at the target's site",
    params=SpeculativeParams,
    roles={"user": make_user, "target": Target},
    models={"target": frozenset({"target", "draft"})},
)
