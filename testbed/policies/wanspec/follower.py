"""What WANSpec's workers have in common, whatever they draft: they follow the text the controller has validated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar, cast

from testbed.errors import RunInvalid
from testbed.policies.api import Command, Draft, DraftReady, DraftTree, Event, Finish, MessageReceived, TreeDraftReady
from testbed.policies.device import Device
from testbed.wire.messages import Close, Open, Validation


class Followed:
    """One request as its worker knows it."""

    def __init__(self, opened: Open, controller: str) -> None:
        self.opened = opened
        self.controller = controller
        self.validated = list(opened.prompt)
        # The last token is never worth drafting: a target pass emits one more token than it verifies.
        self.end = len(opened.prompt) + opened.max_tokens - 1

    def validate(self, validation: Validation) -> None:
        """Takes the next tokens of the text. Raises RunInvalid if they are not the next ones."""
        if validation.position != len(self.validated):
            raise RunInvalid(
                f"validation at position {validation.position}, expected {len(self.validated)}: delivery is not ordered"
            )
        self.validated += validation.tokens


State = TypeVar("State", bound=Followed)
Ready = TypeVar("Ready", DraftReady, TreeDraftReady)  # what this worker's draft passes bring


class Follower(ABC, Generic[State, Ready]):
    """A worker's event loop: opens, follows and closes requests, and drafts whenever its device is free."""

    def __init__(self) -> None:
        self._device: Device[State] = Device()

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Open() as opened):
                self._device.open(opened.request, self._opened(opened, sender))
            case MessageReceived(_, Validation() as validation):
                state = self._device.get(validation.request)
                assert state is not None
                state.validate(validation)
            case MessageReceived(_, Close(request)):
                self._device.close(request)
                commands.append(Finish(request))
            case DraftReady() | TreeDraftReady():
                drafted = self._device.finished(event)
                if drafted is not None:
                    commands += self._drafted(drafted, cast(Ready, event))
        return commands + self._device.start(self._next)

    @abstractmethod
    def _opened(self, opened: Open, controller: str) -> State:
        """A request that begins."""

    @abstractmethod
    def _drafted(self, state: State, event: Ready) -> list[Command]:
        """Streams what a draft pass brought for a request that is still open."""

    @abstractmethod
    def _next(self, state: State, job: int) -> Draft | DraftTree | None:
        """The next draft pass of a request; None while it must wait."""
