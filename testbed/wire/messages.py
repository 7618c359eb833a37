"""Every message that travels between nodes, in one schema: tagged msgspec structs, positional on the wire.

Positions are absolute token positions in prompt + output. `lineage` counts how often the worker had to throw its own
speculation away: speculation of an older lineage is stale and is dropped on arrival.
"""

from __future__ import annotations

import msgspec

from testbed.decoding.sampling import Sampling

PROTOCOL_VERSION = 1


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    node: str
    version: int = PROTOCOL_VERSION


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    sent_ns: int


class Pong(msgspec.Struct, frozen=True, array_like=True, tag="pong"):
    ping_sent_ns: int


class Request(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """User to target: please generate."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    eos: int | None = None


class Tokens(msgspec.Struct, frozen=True, array_like=True, tag="tokens"):
    """Target to user: the next output tokens; `final` ends the request."""

    request: int
    position: int
    tokens: tuple[int, ...]
    final: bool


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open"):
    """Controller to worker: a request to speculate on."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling


class Speculation(msgspec.Struct, frozen=True, array_like=True, tag="speculation"):
    """Worker to controller: one drafted token at an absolute position, with the drafter's entropy in nats."""

    request: int
    lineage: int
    position: int
    token: int
    entropy: float


class Validation(msgspec.Struct, frozen=True, array_like=True, tag="validation"):
    """Controller to worker: what one target step emitted, from `position` on."""

    request: int
    position: int
    tokens: tuple[int, ...]


class Close(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    request: int


Message = Hello | Ping | Pong | Request | Tokens | Open | Speculation | Validation | Close


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What is framed: the sender's send time on the machine-wide monotonic clock, a sequence number, the message."""

    sent_ns: int
    sequence: int
    message: Message
