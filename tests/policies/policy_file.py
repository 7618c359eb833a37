"""A policy in its own file, as a student writes one, and the file next to it that it imports."""

from __future__ import annotations

from pathlib import Path

LOOKUP = """\
from helper import guess

from pydantic import Field

from testbed.policies.api import MessageReceived, VerifyReady
from testbed.policies.jobqueue import JobQueue
from testbed.policies.session import Session
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.files.strict import Strict
from testbed.wire.messages import Request


class Params(Strict):
    k: int = Field(default=3, ge=1, le=32)


class Target:
    def __init__(self, params, context):
        self._k = params.k
        self._queue = JobQueue()

    def handle(self, event, now):
        commands = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._queue.open(request.request, Session(request, sender))
            case VerifyReady():
                session = self._queue.finished(event)
                settled = session.verified(event)
                commands += session.answer(settled)
                if settled.final:
                    self._queue.close(event.request)
        return commands + self._queue.start(self._next)

    def _next(self, session, job):
        return session.verify(job, guess(session.validated, session.depth(self._k)))


SPEC = PolicySpec(
    name="lookup",
    description="drafts are copied from the context",
    params=Params,
    roles={"user": make_user, "target": Target},
    models={"target": frozenset({"target"})},
)
"""
HELPER = """\
def guess(tokens, count):
    for index in range(len(tokens) - 2, -1, -1):
        if tokens[index] == tokens[-1]:
            return tokens[index + 1 : index + 1 + count]
    return []
"""


def write_policy(folder: Path, text: str = LOOKUP, helper: str = HELPER) -> Path:
    """`folder/my_policy.py`, whose policy is SPEC."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "helper.py").write_text(helper)
    path = folder / "my_policy.py"
    path.write_text(text)
    return path
