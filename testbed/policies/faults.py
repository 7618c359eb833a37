"""A policy's faults, in one line that names policy, role, node, event, request and the policy's own file and line.

Roles are made with it for both engines, so that a fault reads the same in either. A fault ends the run, not valid
(status 3): the policy ran, and what it did is not a result. Commands of policies from elsewhere are checked whole, for
the wire and the model worker take nothing on trust and would blame themselves; the project's own are held to their
types by mypy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, get_args

import msgspec

from testbed.errors import BadInput, RunInvalid
from testbed.policies.api import (
    Command,
    DeviceJob,
    Draft,
    DraftBatch,
    DraftTree,
    Event,
    Evict,
    Finish,
    MessageReceived,
    Role,
    RoleContext,
    Send,
    SetTimer,
    Verify,
    VerifyBatch,
    VerifyTree,
    requests_of,
)

COMMANDS = frozenset(get_args(Command))
OURS = "testbed"  # the package whose policies are the project's own


class PolicyFault(RunInvalid):
    """A policy raised, or answered with what no engine can carry out."""


def guarded(
    factory: Callable[[Any, RoleContext], Role], params: Any, context: RoleContext, who: str, roles: Collection[str]
) -> Role:
    """What the factory makes, whose every fault is a PolicyFault of `who`. `roles` are those that the policy has."""
    try:
        made = factory(params, context)
    except BadInput:
        raise  # a policy's word on its own parameters, or on the devices it was given: no fault of the policy
    except (Exception, SystemExit) as error:
        package = _package(getattr(factory, "__module__", ""))
        raise PolicyFault(f"{who}, when it was made: {said(error)}; at {own_line(error, package)}") from error
    return _Guarded(made, who, reachable(context, roles))


def reachable(context: RoleContext, roles: Collection[str]) -> frozenset[str]:
    """Nodes with a role that a message can be sent to: connections form a star around the targets."""
    targets = set(context.peers.get("target", ()))
    others = {peer for role in roles for peer in context.peers.get(role, ()) if peer != context.node}
    return frozenset(peer for peer in others if (context.node in targets) != (peer in targets))


class _Guarded:
    """A role as the engines see it."""

    def __init__(self, role: Role, who: str, reach: frozenset[str]) -> None:
        self._role = role
        self._who = who
        self._reach = reach
        self._package = _package(type(role).__module__)
        self._whole = self._package != OURS
        self._heard: set[int] = set()  # requests that it has been told of
        self._finished: set[int] = set()

    def handle(self, event: Event, now: float) -> list[Command]:
        try:
            commands = self._role.handle(event, now)
        except (Exception, SystemExit) as error:
            fault = f"{self._who}, on {described(event)}: {said(error)}; at {own_line(error, self._package)}"
            raise PolicyFault(fault) from error
        if type(commands) is not list:
            raise self._nonsense(event, f"{_short(commands)}, which is not a list of commands")
        if self._whole and (request := request_of(event)) is not None:
            self._heard.add(request)
        for command in commands:
            kind = type(command)
            if kind is Send:
                if command.to not in self._reach:  # type: ignore[union-attr]
                    raise self._nonsense(event, f"{_short(command)}: {self._reachable_words()}")
            elif kind not in COMMANDS:
                raise self._nonsense(event, f"{_short(command)}, which is not a command")
            elif kind is SetTimer and not _is_time(command.at):  # type: ignore[union-attr]
                raise self._nonsense(event, f"{_short(command)}: at must be a time in milliseconds, 0 or more")
            if self._whole and (wrong := wrong_fields(command) or self._unheard(command)) is not None:
                raise self._nonsense(event, f"{_short(command)}: {wrong}")
        return commands

    def _unheard(self, command: Command) -> str | None:
        for request in _requests(command):
            if request not in self._heard:
                return f"it does not know request {request}"
        if isinstance(command, Finish):
            if command.request in self._finished:
                return f"request {command.request} has already finished"
            self._finished.add(command.request)
        return None

    def _reachable_words(self) -> str:
        return f"connected are {', '.join(sorted(self._reach)) or 'none'}"

    def _nonsense(self, event: Event, answer: str) -> PolicyFault:
        code = getattr(type(self._role).handle, "__code__", None)
        place = f"; at {_place(code)}" if isinstance(code, CodeType) else ""
        return PolicyFault(f"{self._who}, on {described(event)}: it returned {answer}{place}")


def wrong_fields(command: Command) -> str | None:
    """What about a command's fields cannot be; None when all is well."""
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=type(command))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return " ".join(str(error).split())
    members = command.members if isinstance(command, VerifyBatch | DraftBatch) else (command,)
    if any(_keeps(one) for one in members):
        return "what a node keeps is not a role's to say (testbed.policies.prefixes)"
    return next((wrong for one in members if (wrong := _wrong_numbers(one)) is not None), None)


def _keeps(command: Command) -> bool:
    return (
        isinstance(command, Evict)
        or (isinstance(command, Finish) and command.kept)
        or getattr(command, "prefix_of", None) is not None
    )


def _wrong_numbers(command: Command) -> str | None:
    if not isinstance(command, Draft | Verify | DraftTree | VerifyTree):
        return None
    bounds: Mapping[str, int] = {"position": 0, "steps": 0, "most": 0, "drafts": 0, "remote_drafts": 0, "width": 1}
    for name, least in bounds.items():
        if getattr(command, name, least) < least:
            return f"{name} must be {least} or more"
    if min(command.tokens, default=0) < 0:
        return "tokens must be 0 or more"
    if isinstance(command, Verify) and command.drafts > len(command.tokens):
        return f"drafts must be at most the {len(command.tokens)} tokens"
    if isinstance(command, DraftTree | VerifyTree):
        return _wrong_tree(command.nodes, command.parents, command.leaves if isinstance(command, DraftTree) else ())
    return None


def _wrong_tree(nodes: Sequence[int], parents: Sequence[int], leaves: Sequence[int]) -> str | None:
    if len(parents) != len(nodes):
        return f"{len(nodes)} nodes have {len(parents)} parents"
    if any(not -1 <= parent < index for index, parent in enumerate(parents)):
        return "a parent must come before its child"
    return "a leaf must be a node" if any(not -1 <= leaf < len(nodes) for leaf in leaves) else None


def _is_time(at: object) -> bool:
    return type(at) in (int, float) and math.isfinite(at) and at >= 0  # type: ignore[arg-type,operator]


def _requests(command: Command) -> list[int]:
    if isinstance(command, DeviceJob):
        return requests_of(command)
    request = getattr(command, "request", None)
    return [] if request is None else [request]


def request_of(event: Event) -> int | None:
    """The request that an event is about, where it is about one."""
    about = event.message if isinstance(event, MessageReceived) else event
    return getattr(about, "request", None)


def described(event: Event) -> str:
    """An event's kind, its message's kind, and its request."""
    kind = type(event).__name__
    if isinstance(event, MessageReceived):
        kind += f"({type(event.message).__name__} from {event.sender})"
    request = request_of(event)
    return kind if request is None else f"{kind} of request {request}"


def said(error: BaseException) -> str:
    """Type and words of an exception, in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def own_line(error: BaseException, package: str) -> str:
    """File and line where an exception left a package: the deepest of its frames, else the deepest of all."""
    place, own, frame = "", "", error.__traceback__
    while frame is not None:
        place = f"{Path(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}"
        if _package(str(frame.tb_frame.f_globals.get("__name__", ""))) == package:
            own = place
        frame = frame.tb_next
    return own or place


def _place(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_firstlineno}"


def _package(module: str) -> str:
    return module.partition(".")[0]


def _short(value: object, most: int = 120) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]}..."
