"""The user's side: each request gets a target, and another one if that falls silent.

The policy's role knows one address, that of the first target; messages to it go to the target of their request, and
what that target says comes from it. So every policy can be routed, and none knows that it is.

Rule kept: a request has one target at a time. After a failover what its former target still says is dropped, and the
new one is asked to go on after the last token that arrived, so no token is lost or handed out twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from testbed.policies.api import (
    Command,
    Emit,
    Event,
    Finish,
    LinkSample,
    MessageReceived,
    RequestArrived,
    Role,
    Send,
    SetTimer,
    TimerFired,
)
from testbed.policies.routing.options import Routing
from testbed.policies.routing.rules import Known, choose
from testbed.wire.messages import Drafts, Load, Request, Slo

TIMER = "silent targets"
LOOK_AGAIN_MS = 1.0  # a timer rings at its nanosecond, which may lie before the float it was set to


class _Routed:
    """An open request: where it is, and what a new target would have to be told."""

    def __init__(self, arrived: RequestArrived, target: str) -> None:
        self.arrived = arrived
        self.target = target
        self.been = {target}  # it does not go back to one that it left
        self.slo: Slo | None = None
        self.asked: Request | None = None
        self.emitted: list[int] = []  # since it was asked
        self.drafts: Drafts | None = None  # that wait for a verdict


class Router:
    """Stands before a user's role, which was made to know `targets[0]` alone. `number`: which of the users it is."""

    def __init__(self, role: Role, targets: Sequence[str], routing: Routing, number: int) -> None:
        self._role = role
        self._targets = targets
        self._front = targets[0]
        self._routing = routing
        self._known = {target: Known() for target in targets}
        self._routed: dict[int, _Routed] = {}
        self._turn = number
        self._last: str | None = None  # target of the newest request
        self._set = False  # the timer is

    def handle(self, event: Event, now: float) -> list[Command]:
        if type(event) is MessageReceived:
            return self._received(event, now)
        if type(event) is TimerFired and event.name == TIMER:
            self._set = False
            return self._leave_silent(now)
        if type(event) is LinkSample and event.peer in self._known:
            self._known[event.peer].sample(event.rtt_ms, now)
            if event.peer != (self._last or self._front):
                return []
            event = LinkSample(self._front, event.rtt_ms)
        elif type(event) is RequestArrived:
            self._route(event, now)
        return self._carried(self._role.handle(event, now), now)

    def _received(self, event: MessageReceived, now: float) -> list[Command]:
        message = event.message
        if type(message) is Load:
            self._known[event.sender].reported(message, now)
            return []
        routed = self._routed.get(getattr(message, "request", -1))
        if event.sender in self._known:
            if routed is not None and routed.target != event.sender:
                return []
            event = MessageReceived(self._front, message)
        return self._carried(self._role.handle(event, now), now)

    def _route(self, arrived: RequestArrived, now: float) -> None:
        speaking = self._speaking(now)
        if self._routing.sticky and self._last in speaking:
            target = self._last
            assert target is not None
        else:
            target = choose(self._routing, speaking or self._targets, self._known, arrived, self._turn)
        self._turn += 1
        self._last = target
        self._routed[arrived.request] = _Routed(arrived, target)
        self._known[target].sent(arrived.request, arrived.max_tokens, now)

    def _carried(self, commands: list[Command], now: float) -> list[Command]:
        """The role's commands, addressed, and what follows from them."""
        carried: list[Command] = []
        for command in commands:
            if type(command) is Send and command.to == self._front:
                carried.append(self._addressed(command))
                continue
            if type(command) is Emit and (routed := self._routed.get(command.request)) is not None:
                routed.emitted += command.tokens
                routed.drafts = None
                self._known[routed.target].emitted(command.request, len(command.tokens))
            elif type(command) is Finish and (routed := self._routed.pop(command.request, None)) is not None:
                self._known[routed.target].gone(command.request)
            carried.append(command)
        return carried + self._alarm(now)

    def _addressed(self, command: Send) -> Send:
        message = command.message
        routed = self._routed.get(getattr(message, "request", -1))
        if routed is None:
            return command
        if type(message) is Slo:
            routed.slo = message
        elif type(message) is Request:
            routed.asked, routed.emitted, routed.drafts = message, [], None
        elif type(message) is Drafts:
            routed.drafts = message
        return Send(routed.target, message)

    # --- targets that fall silent ---

    def _speaking(self, now: float) -> list[str]:
        after = self._routing.failover_ms
        return [target for target in self._targets if after is None or now < self._known[target].silent_from(after)]

    def _alarm(self, now: float) -> list[Command]:
        """When the next target that is needed could have fallen silent."""
        after = self._routing.failover_ms
        if after is None or self._set or not self._routed:
            return []
        self._set = True
        soonest = min(self._known[routed.target].silent_from(after) for routed in self._routed.values())
        return [SetTimer(TIMER, max(soonest, now + LOOK_AGAIN_MS) if soonest > now else now + after)]

    def _leave_silent(self, now: float) -> list[Command]:
        commands: list[Command] = []
        speaking = self._speaking(now)
        for routed in self._routed.values():
            others = [target for target in speaking if target not in routed.been]
            if routed.target not in speaking and others and routed.asked is not None:
                commands += self._move(routed, others, now)
        return commands + self._alarm(now)

    def _move(self, routed: _Routed, others: Sequence[str], now: float) -> list[Command]:
        asked = routed.asked
        assert asked is not None
        request = asked.request
        target = choose(self._routing, others, self._known, routed.arrived, self._turn)
        self._known[routed.target].gone(request)
        routed.target = self._last = target
        routed.been.add(target)
        left = asked.max_tokens - len(routed.emitted)
        routed.asked = replace(asked, prompt=(*asked.prompt, *routed.emitted), max_tokens=left)
        routed.emitted = []
        self._known[target].sent(request, left, now)
        said = [routed.slo, routed.asked, routed.drafts]
        return [Send(target, message) for message in said if message is not None]
