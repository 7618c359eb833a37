"""The target's side: it counts what it has open and tells every user, when that changes and not too often.

Rule kept: a report is a message like any other; what users know of a target's load is as old as its way took.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.policies.api import Command, Event, MessageReceived, Role, Send, SetTimer, TimerFired
from testbed.policies.throttle import Throttle
from testbed.wire.messages import Load, Request, Tokens

TIMER = "load report"
RECENT_TOKENS = 512  # after so many, those before count half


class Reporting:
    """Stands before a target's role. Reports follow changes, so that a target at rest says nothing."""

    def __init__(self, role: Role, users: Sequence[str], report_ms: float) -> None:
        self._role = role
        self._users = users
        self._throttle = Throttle(TIMER, report_ms, (0, 0))
        self._reports = 0
        self._open: dict[int, int] = {}  # request to the tokens that it may still get
        self._newest = -1  # request
        self._busy_ms = 0.0  # with requests open, and the tokens that it emitted meanwhile: what was lately counts more
        self._emitted = 0.0
        self._seen = 0.0  # when that was last counted

    def handle(self, event: Event, now: float) -> list[Command]:
        if type(event) is TimerFired and event.name == TIMER:
            self._throttle.rang(now)
            return self._report(now)
        if self._open:
            self._busy_ms += now - self._seen
        self._seen = now
        if type(event) is MessageReceived and type(event.message) is Request:
            request = event.message
            self._open[request.request] = request.max_tokens
            self._newest = max(self._newest, request.request)
        commands = self._role.handle(event, now)
        for command in commands:
            if type(command) is Send and type(command.message) is Tokens:
                self._sent(command.message)
        return commands + self._report(now)

    def _sent(self, message: Tokens) -> None:
        self._emitted += len(message.tokens)
        if self._emitted >= RECENT_TOKENS:
            self._emitted, self._busy_ms = self._emitted / 2, self._busy_ms / 2
        if message.final:
            self._open.pop(message.request, None)
        elif message.request in self._open:
            self._open[message.request] -= len(message.tokens)

    def _report(self, now: float) -> list[Command]:
        load = len(self._open), sum(self._open.values())
        due = self._throttle.say(load, now)
        if isinstance(due, SetTimer):
            return [due]
        if not due:
            return []
        self._reports += 1
        pace_us = round(self._busy_ms / self._emitted * 1e3) if self._emitted else 0
        return [Send(user, Load(self._newest, *load, pace_us, self._reports)) for user in self._users]
