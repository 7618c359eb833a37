"""One TCP connection between two nodes: both sides greet, then it answers pings and hands messages to its endpoint.

asyncio sets TCP_NODELAY itself; it is set and read back here all the same, because a silent 40 ms would look like WAN.
Congestion control is pinned (RFC 8312 cubic, else reno; in a dilated run reno), since the machine's default differs
from host to host.

Rule kept: until the peer has proven the pair's key (`greeting`), nothing that it says reaches the endpoint's node.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from testbed.clock.api import Clock
from testbed.clock.waiting import longest_s
from testbed.wire.delivery import Delivery
from testbed.wire.framing import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MAX_GREETING_BYTES,
    Frames,
    ProtocolError,
    decode,
    encode,
)
from testbed.wire.greeting import Greeting, new_nonce
from testbed.wire.inbox import Inbox
from testbed.wire.messages import PROTOCOL_VERSION, Again, Envelope, Hello, Message, Ping, Pong, Proof
from testbed.wire.transport import Arrival

CONGESTION_CONTROL = ("cubic", "reno")
CLOCKED_BY_ACKS = ("reno",)  # which knows no absolute time; cubic's window grows by the machine's seconds
GREETING_S = 15.0  # from the connection to the last proof: two round trips, of seconds where packets are lost

Stream = Delivery[Envelope, tuple[Envelope, int, int]]


class Endpoint(Protocol):
    """What a connection asks of its node's endpoint, and tells it."""

    node: str
    clock: Clock  # the run's
    now_ns: Callable[[], int]  # of it
    incarnation: int
    keys: dict[str, bytes]
    congestion_control: str

    def peers(self) -> list[str]: ...

    def has_room(self, connection: Connection, /) -> bool:
        """Whether one more may try to prove itself; it is counted in if so."""

    def greeted(self, connection: Connection, /) -> None: ...

    def refused(self, connection: Connection, why: str, /) -> None: ...

    def lost(self, connection: Connection, broken: bool) -> None: ...

    def stream(self, peer: str, /) -> Stream: ...

    def sent_to(self, peer: str | None, /) -> int: ...

    def said(self, connection: Connection, envelope: Envelope, size: int, now: int, /) -> None: ...

    def heard_of(self, connection: Connection, number: int, /) -> None: ...

    def send_again(self, connection: Connection, after: int, /) -> None: ...

    def arrived(self, arrival: Arrival, /) -> None: ...

    def failed(self, error: str, /) -> None: ...


def congestion_control(dilation: float) -> tuple[str, ...]:
    """What a run's connections use: the first of these that is there."""
    return CONGESTION_CONTROL if dilation == 1 else CLOCKED_BY_ACKS


def tune(sock: socket.socket, dilation: float = 1.0) -> str:
    """No delay, pinned congestion control; returns the congestion control in force."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY):
        raise ProtocolError("the kernel refused TCP_NODELAY")
    if not hasattr(socket, "TCP_CONGESTION"):
        return "unknown"
    for name in congestion_control(dilation):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
            break
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


class Connection(Inbox):
    """From its greeting to its end."""

    def __init__(self, endpoint: Endpoint, dialled: str | None) -> None:
        """`dialled`: the peer that must answer; None for a connection that came in."""
        super().__init__()
        self._endpoint = endpoint
        self._frames = Frames(MAX_GREETING_BYTES)
        self._nonce = new_nonce()
        self._dialled = dialled
        self._greeting: Greeting | None = None  # once the other side has said Hello
        self._limit: asyncio.TimerHandle | None = None
        self.peer: str | None = None  # once it has proven who it is
        self.claimed = dialled
        self.incarnation = 0  # of the other side's program
        self.address = "?"
        self.transport: asyncio.Transport | None = None
        self.settled = asyncio.Event()  # greeted, or over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.address = str((transport.get_extra_info("peername") or ("?",))[0])
        if self._dialled is None and not self._endpoint.has_room(self):
            transport.abort()
            return
        self._endpoint.congestion_control = tune(transport.get_extra_info("socket"), self._endpoint.clock.dilation)
        limit_s = longest_s(self._endpoint.clock, GREETING_S)
        self._limit = asyncio.get_running_loop().call_later(limit_s, self._refuse, "did not authenticate in time")
        self.send(Hello(self._endpoint.node, self._nonce, incarnation=self._endpoint.incarnation))

    def received(self, data: memoryview) -> None:
        now = self._endpoint.now_ns()
        assert self.transport is not None
        try:
            for body in self._frames.feed(data):
                envelope = decode(body)
                if self.peer is None:
                    self._greet(envelope.message)
                else:
                    self._received(self.peer, envelope, HEADER_BYTES + len(body), now)
                if self.transport.is_closing():
                    return
        except ProtocolError as error:
            if self.peer is None:
                self._refuse(str(error))
            else:
                self._endpoint.failed(f"{self.peer} {error}")
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._endpoint.lost(self, broken=exc is not None)
        self.settled.set()

    def send(self, message: Message) -> None:
        """One of the wire's own messages."""
        if isinstance(message, Ping) and self.peer is not None:
            self._endpoint.stream(self.peer).pinged(message.sent_ns)
        self.write(Envelope(self._endpoint.now_ns(), self._endpoint.sent_to(self.peer), message))

    def abort(self) -> None:
        assert self.transport is not None
        self.transport.abort()

    def write(self, envelope: Envelope) -> None:
        assert self.transport is not None
        self.transport.write(encode(envelope))

    def _received(self, peer: str, envelope: Envelope, size: int, now: int) -> None:
        match envelope.message:
            case Hello() | Proof():
                self._endpoint.refused(self, "greeted again: ignored")
            case Ping(sent_ns=sent_ns):
                self._endpoint.heard_of(self, envelope.sequence)
                self.send(Pong(ping_sent_ns=sent_ns))
            case Pong(ping_sent_ns=ping_sent_ns) as pong:
                self._endpoint.stream(peer).ponged(ping_sent_ns)
                self._endpoint.heard_of(self, envelope.sequence)
                self._endpoint.arrived(Arrival(peer, pong, envelope.sent_ns, now, size))
            case Again(after=after):
                self._endpoint.send_again(self, after)
            case _:
                self._endpoint.said(self, envelope, size, now)

    # --- until the peer has proven who it is ---

    def _greet(self, message: Message) -> None:
        match message:
            case Hello(node=node, nonce=nonce, version=version, incarnation=incarnation) if self._greeting is None:
                self.incarnation = incarnation
                self._hello(node, nonce, version)
            case Proof(mac=mac) if self._greeting is not None:
                self._proof(self._greeting, mac)
            case Hello():
                raise ProtocolError("sent hello twice")
            case _:
                raise ProtocolError("sent a message before authenticating")

    def _hello(self, node: str, nonce: bytes, version: int) -> None:
        if version != PROTOCOL_VERSION:
            raise ProtocolError(f"speaks protocol {version}, this node speaks {PROTOCOL_VERSION}")
        if self._dialled is not None and node != self._dialled:
            raise ProtocolError(f"dialled {self._dialled}, but {node!r:.64} answered")
        if node not in self._endpoint.keys:
            raise ProtocolError(f"says it is {node!r:.64}, which is not a peer of this node")
        self.claimed = node
        here = self._endpoint.node
        if self._dialled is None:
            self._greeting = Greeting(node, here, nonce, self._nonce)
        else:
            self._greeting = Greeting(here, node, self._nonce, nonce)
            self.send(Proof(self._greeting.proof(self._endpoint.keys[node], "dialled")))

    def _proof(self, greeting: Greeting, mac: bytes) -> None:
        assert self.claimed is not None
        key = self._endpoint.keys[self.claimed]
        if not greeting.proven(key, "listened" if self._dialled is not None else "dialled", mac):
            raise ProtocolError(f"cannot authenticate as {self.claimed}")
        if self.claimed in self._endpoint.peers():
            raise ProtocolError(f"is a second {self.claimed}; the first stays")
        if self._dialled is None:
            self.send(Proof(greeting.proof(key, "listened")))
        assert self._limit is not None
        self._limit.cancel()
        self._frames.limit = MAX_FRAME_BYTES
        self.peer = self.claimed
        self._endpoint.greeted(self)
        self.settled.set()

    def _refuse(self, why: str) -> None:
        assert self.transport is not None
        if not self.transport.is_closing():
            self._endpoint.refused(self, why)
            self.transport.abort()
