"""The user's role, the same for every policy: ask the target, hand out what comes back."""

from __future__ import annotations

from typing import Any

from testbed.policies.api import Command, Emit, Event, Finish, MessageReceived, RequestArrived, RoleContext, Send
from testbed.wire.messages import Request, Tokens


class User:
    def __init__(self, target: str) -> None:
        self._target = target

    def handle(self, event: Event, now: float) -> list[Command]:
        match event:
            case RequestArrived(request, prompt, max_tokens, sampling, eos):
                return [Send(self._target, Request(request, prompt, max_tokens, sampling, eos))]
            case MessageReceived(_, Tokens(request, _, tokens, final)):
                emitted: list[Command] = [Emit(request, tokens)]
                return [*emitted, Finish(request)] if final else emitted
        return []


def make_user(params: Any, context: RoleContext) -> User:
    """Registry factory; a user speaks to the first target, whatever the policy's parameters."""
    return User(context.peers["target"][0])
