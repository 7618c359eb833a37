"""A role that may be told anything twice, late or out of order: what it has had is dropped, what is early waits.

Rule kept: every message is idempotent by (request, round) (invariant 9). What a message's round is stands in it: a
text's length, a position in it, a node's number. So nothing is added to messages, a role is told each of them once and
in the order in which they were sent, and where the wire keeps that order, as TCP does, this changes nothing.

A worker may be told of a request by several targets, when the request moved from one to another: each has
its own stream.

What must be known besides is how far the text of a request is at this node. Prompts begin it (`RequestArrived`,
`Request`, `Open`); it grows with what the role hands out (`Emit`), what it sends (`Tokens`) or is sent (`Validation`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from testbed.policies.api import (
    Command,
    Emit,
    Event,
    Finish,
    MessageReceived,
    RequestArrived,
    Role,
    Send,
)
from testbed.wire.messages import (
    Branches,
    Close,
    Drafts,
    Load,
    Open,
    Request,
    Slo,
    Tokens,
    Validation,
    Watch,
)

MOST_EARLY = 1024  # messages of one request that wait; what is missing so long does not come

# Where a message stands in its stream, as comparison with what is next there.
LATE, NEXT, EARLY = -1, 0, 1


class _Open:
    """An open request: how far its text is here, and of each worker's stream what is next."""

    __slots__ = ("answers", "streams", "text")

    def __init__(self, text: int) -> None:
        self.text = text
        self.answers: set[int] = set()  # positions of the `Tokens` that came
        self.streams: dict[str, int] = {}  # number of its next node, by sender


UNKNOWN, CLOSED = -1, 2**31 - 1  # a request that never came; one that opens no more, however long its prompt
BLOCK = 1024  # requests
APART = 2**40  # between the numbers of one target's requests and the next one's


class Longest:
    """The longest prompt that each request came with. Kept when a request has ended, so in four bytes for each."""

    def __init__(self) -> None:
        self._blocks: dict[int, array[int]] = {}

    def __getitem__(self, request: int) -> int:
        block = self._blocks.get(request // BLOCK)
        return UNKNOWN if block is None else block[request % BLOCK]

    def __setitem__(self, request: int, length: int) -> None:
        number = request // BLOCK
        if number not in self._blocks:
            self._blocks[number] = array("i", [UNKNOWN]) * BLOCK
        self._blocks[number][request % BLOCK] = length


class Once:
    """Stands before a role; see `PolicySpec.role`."""

    def __init__(self, role: Role, targets: Sequence[str] = ()) -> None:
        self.role = role
        self._apart = {target: index * APART for index, target in enumerate(targets)}
        self._rounds = Longest()
        self._open: dict[int, _Open] = {}
        self._early: dict[int, list[MessageReceived]] = {}

    def handle(self, event: Event, now: float) -> list[Command]:
        if type(event) is MessageReceived:
            place = self._place(event)
            if place != NEXT:
                if place == EARLY:
                    self._keep(event)
                return []
            self._taken(event)
        elif type(event) is RequestArrived:
            self._opens(event.request, len(event.prompt))
        commands = self.role.handle(event, now)
        if commands:
            self._follow(commands)
        while self._early and (follows := self._next_early()) is not None:
            self._taken(follows)
            more = self.role.handle(follows, now)
            self._follow(more)
            commands += more
        return commands

    def _follow(self, commands: list[Command]) -> None:
        """How far these take the texts."""
        for command in commands:
            kind = type(command)
            if kind is Send:
                message = command.message  # type: ignore[union-attr]
                if type(message) is Tokens and (one := self._open.get(message.request)) is not None:
                    one.text = message.position + len(message.tokens)
            elif kind is Emit:
                if (one := self._open.get(command.request)) is not None:  # type: ignore[union-attr]
                    one.text += len(command.tokens)  # type: ignore[union-attr]
            elif kind is Finish:
                self._ends(command.request)  # type: ignore[union-attr]

    def _place(self, event: MessageReceived) -> int:
        message = event.message
        kind = type(message)
        if kind is Load or kind is Watch:  # of no request's stream; what comes of either twice does nothing
            return NEXT
        if kind is Branches:
            one = self._open.get(self._key(event))
            if one is not None:
                number = one.streams.get(event.sender, 0)
                first: int = message.first  # type: ignore[union-attr]
                return NEXT if first == number else EARLY if first > number else LATE
        elif kind is Request or kind is Open:
            return NEXT if len(message.prompt) > self._rounds[self._key(event)] else LATE  # type: ignore[union-attr]
        if getattr(message, "request", None) is None:
            return NEXT
        request = self._key(event)
        one = self._open.get(request)
        if kind is Close:
            if one is None:
                self._rounds[request] = CLOSED  # it overtook what opens it, or comes again
                self._early.pop(request, None)
                return LATE
            return NEXT
        if kind is Slo:
            return NEXT if self._rounds[request] == UNKNOWN else LATE
        if one is None:
            return EARLY if self._rounds[request] == UNKNOWN else LATE
        if kind is Tokens:
            # not had, yet before the end of the text: the role handed out tokens itself meanwhile, and judges it
            position: int = message.position  # type: ignore[union-attr]
            return LATE if position in one.answers else EARLY if position > one.text else NEXT
        if kind is Validation or kind is Drafts:
            position = message.position  # type: ignore[union-attr]
            return NEXT if position == one.text else EARLY if position > one.text else LATE
        return NEXT

    def _taken(self, event: MessageReceived) -> None:
        """What follows this message is next now."""
        message = event.message
        if type(message) is Branches:
            self._open[self._key(event)].streams[event.sender] = message.first + len(message.tokens)
        elif type(message) is Validation:
            self._open[self._key(event)].text = message.position + len(message.tokens)
        elif type(message) is Tokens:
            self._open[self._key(event)].answers.add(message.position)
        elif type(message) is Request or type(message) is Open:
            self._opens(self._key(event), len(message.prompt))
        elif type(message) is Close:
            self._ends(self._key(event))
            self._rounds[self._key(event)] = CLOSED

    def _key(self, event: MessageReceived) -> int:
        """Of the stream that a message about a request belongs to."""
        request: int = event.message.request  # type: ignore[union-attr]
        return request + self._apart.get(event.sender, 0) if self._apart else request

    def _opens(self, request: int, text: int) -> None:
        self._rounds[request] = text
        self._open[request] = _Open(text)

    def _ends(self, request: int) -> None:
        self._open.pop(request, None)
        self._early.pop(request, None)

    def _keep(self, event: MessageReceived) -> None:
        kept = self._early.setdefault(self._key(event), [])
        if len(kept) < MOST_EARLY:
            kept.append(event)

    def _next_early(self) -> MessageReceived | None:
        """Takes out the first early message that is next now, and those that are late now."""
        for request, kept in list(self._early.items()):
            for event in list(kept):
                place = self._place(event)
                if place != EARLY:
                    kept.remove(event)
                    if not kept:
                        self._early.pop(request, None)
                    if place == NEXT:
                        return event
        return None
