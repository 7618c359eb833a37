"""Target-only decoding: one token per target pass, no drafts: the reference for every other policy's output."""

from __future__ import annotations

from testbed.files.strict import Strict
from testbed.policies.api import Command, Event, MessageReceived, RoleContext, VerifyReady
from testbed.policies.jobqueue import JobQueue
from testbed.policies.session import Session
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.wire.messages import Request


class AutoregressiveParams(Strict):
    """No knobs."""


class Target:
    def __init__(self, params: AutoregressiveParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._queue: JobQueue[Session] = JobQueue()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._queue.open(request.request, Session(request, sender, self._prefixes))
            case VerifyReady():
                session = self._queue.finished(event)
                assert session is not None
                settled = session.verified(event)
                commands += session.answer(settled)
                if settled.final:
                    self._queue.close(event.request)
        return commands + self._queue.start(lambda session, job: session.verify(job))


SPEC = PolicySpec(
    name="autoregressive",
    description="target-only decoding, one token per pass",
    params=AutoregressiveParams,
    roles={"user": make_user, "target": Target},
    models={"target": frozenset({"target"})},
)
