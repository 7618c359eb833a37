"""Target-only decoding: one token per target pass, no drafts: the reference for every other policy's output."""

from __future__ import annotations

from testbed.policies.api import BatchReady, Command, Event, MessageReceived, RoleContext, VerifyReady
from testbed.policies.batching import BatchingParams
from testbed.policies.passqueue import PassQueue, Wish
from testbed.policies.session import Session
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.wire.messages import Request


class AutoregressiveParams(BatchingParams):
    """No others."""


class Target:
    def __init__(self, params: AutoregressiveParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._queue: PassQueue[Session] = PassQueue(params, context.limits)

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._queue.open(request, Session(request, sender, self._prefixes))
            case VerifyReady() | BatchReady():
                for session, answer in self._queue.finished(event):
                    assert isinstance(answer, VerifyReady)
                    settled = session.verified(answer)
                    commands += session.answer(settled)
                    if settled.final:
                        self._queue.close(answer.request)
        return commands + self._queue.start(lambda session: Wish(False, session.verify))


SPEC = PolicySpec(
    name="autoregressive",
    description="target-only decoding, one token per pass",
    params=AutoregressiveParams,
    roles={"user": make_user, "target": Target},
    models={"target": frozenset({"target"})},
)
