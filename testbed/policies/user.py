"""The user's role, the same for every policy: ask the target, hand out what comes back."""

from __future__ import annotations

from typing import Any

from testbed.policies.api import Command, Emit, Event, Finish, MessageReceived, RequestArrived, RoleContext, Send
from testbed.wire.messages import Request, Tokens


class User:
    def __init__(self, target: str) -> None:
        self._target = target

    def handle(self, event: Event, now: float) -> list[Command]:
        if type(event) is MessageReceived:
            message = event.message
            if type(message) is Tokens:
                emitted = Emit(message.request, message.tokens)
                return [emitted, Finish(message.request)] if message.final else [emitted]
        elif type(event) is RequestArrived:
            asked = Request(event.request, event.prompt, event.max_tokens, event.sampling, event.eos)
            return [Send(self._target, asked)]
        return []


def make_user(params: Any, context: RoleContext) -> User:
    """Registry factory; a user speaks to the first target, whatever the policy's parameters."""
    return User(context.peers["target"][0])
