"""The drafter's side: how much it has open, what a pass takes it, and what others do to its device.

Rule kept: it says only what its node can see, in messages, to the targets that asked (`Watch`), when it changes and not
too often.
"""

from __future__ import annotations

from testbed.policies.api import (
    Command,
    DeviceSample,
    Draft,
    DraftReady,
    DraftTree,
    Event,
    MessageReceived,
    Role,
    Send,
    SetTimer,
    TimerFired,
    TreeDraftReady,
)
from testbed.policies.estimates import MovingAverage, RecentMedian
from testbed.policies.throttle import Throttle
from testbed.wire.messages import Close, Load, Open, Validation, Watch

TIMER = "drafter's load report"
PASSES = 15  # the median of so many is what one takes
STEP_MS = 0.25  # times are said in steps, so that their last digit is no news


class DrafterReporting:
    """Stands before a drafter's role, behind what sorts its messages (`policies.once`)."""

    def __init__(self, role: Role, report_ms: float) -> None:
        self._role = role
        self._throttle = Throttle(TIMER, report_ms, None)
        self._number = 0
        self._watchers: dict[str, int] = {}  # target to the request that it asked with
        self._open: dict[int, int] = {}  # request to the tokens that it may still draft
        self._asked: dict[int, float] = {}  # job to when it was
        self._pass_ms = RecentMedian(PASSES)
        self._wait_ms = MovingAverage()

    def handle(self, event: Event, now: float) -> list[Command]:
        if type(event) is TimerFired and event.name == TIMER:
            self._throttle.rang(now)
            return self._report(now)
        if type(event) is DeviceSample:
            self._wait_ms.add(event.share * event.pass_ms)
            return self._report(now)
        if type(event) is MessageReceived and type(event.message) is Watch:
            if event.sender not in self._watchers:
                self._watchers[event.sender] = event.message.request
                return self._say([event.sender])
            return []
        if type(event) is DraftReady or type(event) is TreeDraftReady:
            self._pass_ms.add(now - self._asked.pop(event.job, now))
        elif type(event) is MessageReceived:
            self._count(event.message)
        commands = self._role.handle(event, now)
        for command in commands:
            if type(command) is Draft or type(command) is DraftTree:
                self._asked[command.job] = now
        return commands + self._report(now)

    def _count(self, message: object) -> None:
        if type(message) is Open:
            self._open[message.request] = message.max_tokens
        elif type(message) is Close:
            self._open.pop(message.request, None)
        elif type(message) is Validation and message.request in self._open:
            self._open[message.request] -= len(message.tokens)

    def _state(self) -> tuple[int, int, float, float]:
        """What a report says. Without open requests the length of a pass is unknown, and 0."""
        pass_ms = (self._pass_ms.value or 0.0) if self._open else 0.0
        return len(self._open), sum(self._open.values()), _steps(pass_ms), _steps(self._wait_ms.value or 0.0)

    def _report(self, now: float) -> list[Command]:
        if not self._watchers:
            return []
        due = self._throttle.say(self._state(), now)
        if isinstance(due, SetTimer):
            return [due]
        return self._say(list(self._watchers)) if due else []

    def _say(self, targets: list[str]) -> list[Command]:
        self._number += 1
        requests, tokens, pass_ms, wait_ms = self._state()
        load = requests, tokens, round(pass_ms * 1e3), self._number, round(wait_ms * 1e3)
        return [Send(to, Load(self._watchers[to], *load)) for to in targets]


def _steps(ms: float) -> float:
    return round(ms / STEP_MS) * STEP_MS
