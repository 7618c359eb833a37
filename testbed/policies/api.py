"""The policy contract: events in, commands out, nothing else.

A policy is a set of roles; a role is a pure state machine that lives at one node. It does no I/O, reads no clock and
draws no random number of its own: time arrives as `now` in milliseconds, random draws are keyed by (seed, request,
position) in `testbed.decoding`. The same role object runs in the emulation (real models, wall clock) and in the
simulation (recorded tables, virtual clock). A role may not know what a real deployment could not know (invariant 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from testbed.decoding.rows import SparseRow as SparseRow
from testbed.decoding.sampling import Sampling
from testbed.wire.messages import Message

# --- events ---------------------------------------------------------------------------------------------------------


class RequestArrived(msgspec.Struct, frozen=True):
    """A user's request is due at this (user) node."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    eos: int | None = None


class MessageReceived(msgspec.Struct, frozen=True):
    sender: str
    message: Message


class DraftReady(msgspec.Struct, frozen=True):
    """The draft model finished `steps` passes: one token, entropy (nats) and top probability each."""

    job: int
    request: int
    tokens: tuple[int, ...]
    entropies: tuple[float, ...]
    confidences: tuple[float, ...]
    duration_ms: float
    rows: tuple[SparseRow, ...] = ()  # only when a sampled draft was asked for


class VerifyReady(msgspec.Struct, frozen=True):
    """One target pass: `accepted` drafts, then a correction or bonus token; the target's entropy (nats) at each."""

    job: int
    request: int
    accepted: int
    tokens: tuple[int, ...]  # accepted drafts, then the correction or bonus token
    entropies: tuple[float, ...]
    duration_ms: float


class TimerFired(msgspec.Struct, frozen=True):
    name: str


class LinkSample(msgspec.Struct, frozen=True):
    """A round-trip time measured by the wire to `peer`, in milliseconds."""

    peer: str
    rtt_ms: float


Event = RequestArrived | MessageReceived | DraftReady | VerifyReady | TimerFired | LinkSample


# --- commands -------------------------------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True):
    to: str
    message: Message


class Draft(msgspec.Struct, frozen=True):
    """Crop the request's draft cache to `position` tokens, feed `tokens`, then draft `steps` tokens, one pass each.

    Greedy unless `sampled`: then each token is drawn from the drafter's distribution truncated to `top_q` entries, and
    the rows drawn from come back in `DraftReady.rows`.
    """

    job: int
    request: int
    position: int
    tokens: tuple[int, ...]
    steps: int = 1
    sampled: bool = False
    top_q: int = 0
    sampling: Sampling = Sampling()


class Verify(msgspec.Struct, frozen=True):
    """Crop the request's target cache to `position` tokens, feed `tokens`; the last `drafts` of them are to be checked.

    `remote_drafts`: how many of the drafts came from another site. Bookkeeping for the round log, never for the result.
    """

    job: int
    request: int
    position: int
    tokens: tuple[int, ...]
    drafts: int
    sampling: Sampling = Sampling()
    rows: tuple[SparseRow, ...] = ()  # the drafter's rows, when drafts were sampled
    remote_drafts: int = 0


class SetTimer(msgspec.Struct, frozen=True):
    name: str
    at: float  # milliseconds, same clock as `now`


class CancelTimer(msgspec.Struct, frozen=True):
    name: str


class Emit(msgspec.Struct, frozen=True):
    """Tokens delivered to the user, at the user's node."""

    request: int
    tokens: tuple[int, ...]


class Finish(msgspec.Struct, frozen=True):
    """This node is done with the request: its caches are released; at the user's node the request is complete."""

    request: int


Command = Send | Draft | Verify | SetTimer | CancelTimer | Emit | Finish


# --- the contract ---------------------------------------------------------------------------------------------------


class Role(Protocol):
    """One policy's half at one node."""

    def handle(self, event: Event, now: float) -> list[Command]: ...


class RoleContext(msgspec.Struct, frozen=True):
    """What a role is told when it is made: who it is and who its peers are, by role name."""

    node: str
    peers: Mapping[str, Sequence[str]]  # e.g. {"user": ["user0"], "target": ["target0"], "drafter": ["drafter0"]}
