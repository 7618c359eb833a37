"""Messages over persistent TCP connections, one per pair of nodes, without Nagle's delay.

asyncio sets TCP_NODELAY itself; it is set and read back here all the same, because a silent 40 ms would look like WAN.
Congestion control is pinned (RFC 8312 cubic, else reno), since the machine's default differs from host to host.

Rule kept: whoever cannot prove a pair's key (`greeting`) is closed, costs little memory and time until then, and ends
neither the node nor the connection of the peer it claims to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable, Mapping

from testbed.errors import TestbedError
from testbed.wire.framing import MAX_FRAME_BYTES, MAX_GREETING_BYTES, Framer, ProtocolError, encode
from testbed.wire.greeting import Greeting, new_nonce
from testbed.wire.messages import PROTOCOL_VERSION, Envelope, Hello, Message, Ping, Pong, Proof
from testbed.wire.transport import Arrival, OnArrival

CONGESTION_CONTROL = ("cubic", "reno")
PORT = 7433
GREETING_S = 15.0  # from the connection to the last proof: two round trips, of seconds where packets are lost
STRANGERS = 64  # connections without a proof, over and above one of each peer
STRANGERS_PER_ADDRESS = 8
STRANGERS_SAID = 20  # lines in the log; the rest is only counted
RETRY_S = 0.05
CONNECT_S = 20.0


def tune(sock: socket.socket) -> str:
    """No delay, pinned congestion control; returns the congestion control in force."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY):
        raise ProtocolError("the kernel refused TCP_NODELAY")
    if not hasattr(socket, "TCP_CONGESTION"):
        return "unknown"
    for name in CONGESTION_CONTROL:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
            break
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


class Connection(asyncio.Protocol):
    """One connection: both sides greet, then it answers pings and hands everything else to its endpoint."""

    def __init__(self, endpoint: TcpEndpoint, dialled: str | None) -> None:
        """`dialled`: the peer that must answer; None for a connection that came in."""
        self._endpoint = endpoint
        self._framer = Framer(MAX_GREETING_BYTES)
        self._sequence = 0
        self._nonce = new_nonce()
        self._dialled = dialled
        self._greeting: Greeting | None = None  # once the other side has said Hello
        self._limit: asyncio.TimerHandle | None = None
        self.peer: str | None = None  # once it has proven who it is
        self.claimed = dialled
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
        self._endpoint.congestion_control = tune(transport.get_extra_info("socket"))
        self._limit = asyncio.get_running_loop().call_later(GREETING_S, self._refuse, "did not prove itself in time")
        self.send(Hello(self._endpoint.node, self._nonce))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        assert self.transport is not None
        try:
            for envelope, size in self._framer.feed(data):
                if self.peer is None:
                    self._greet(envelope.message)
                else:
                    self._received(self.peer, envelope, size, now)
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
        self._endpoint.lost(self)
        self.settled.set()

    def send(self, message: Message) -> None:
        assert self.transport is not None
        self._sequence += 1
        self.transport.write(encode(Envelope(time.monotonic_ns(), self._sequence, message)))

    def _received(self, peer: str, envelope: Envelope, size: int, now: int) -> None:
        match envelope.message:
            case Hello() | Proof():
                self._endpoint.refused(self, "greeted again: ignored")
            case Ping(sent_ns=sent_ns):
                self.send(Pong(ping_sent_ns=sent_ns))
            case message:
                self._endpoint.arrived(Arrival(peer, message, envelope.sent_ns, now, size))

    # --- until the peer has proven who it is ---

    def _greet(self, message: Message) -> None:
        match message:
            case Hello(node=node, nonce=nonce, version=version) if self._greeting is None:
                self._hello(node, nonce, version)
            case Proof(mac=mac) if self._greeting is not None:
                self._proof(self._greeting, mac)
            case Hello():
                raise ProtocolError("said hello twice")
            case _:
                raise ProtocolError("sent a message before its hello and proof")

    def _hello(self, node: str, nonce: bytes, version: int) -> None:
        if version != PROTOCOL_VERSION:
            raise ProtocolError(f"speaks protocol {version}, this node speaks {PROTOCOL_VERSION}")
        if self._dialled is not None and node != self._dialled:
            raise ProtocolError(f"dialled {self._dialled}, but {node!r:.64} answered")
        if node not in self._endpoint.keys:
            raise ProtocolError(f"says it is {node!r:.64}, which is no peer of this node")
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
            raise ProtocolError(f"cannot prove that it is {self.claimed}")
        if self.claimed in self._endpoint.peers():
            raise ProtocolError(f"is a second {self.claimed}; the first stays")
        if self._dialled is None:
            self.send(Proof(greeting.proof(key, "listened")))
        assert self._limit is not None
        self._limit.cancel()
        self._framer.limit = MAX_FRAME_BYTES
        self.peer = self.claimed
        self._endpoint.greeted(self)
        self.settled.set()

    def _refuse(self, why: str) -> None:
        assert self.transport is not None
        if not self.transport.is_closing():
            self._endpoint.refused(self, why)
            self.transport.abort()


class TcpEndpoint:
    """All connections of one node; implements `Transport`."""

    def __init__(
        self,
        node: str,
        on_arrival: OnArrival,
        on_failure: Callable[[str], None],
        keys: Mapping[str, bytes] | None = None,
    ) -> None:
        """`on_failure` hears, in a few words, of a peer that breaks the protocol and of a connection that is lost.

        `keys` are those of `greeting.keys_of`: without one for it, nobody is let in.
        """
        self.node = node
        self.keys = dict(keys or {})
        self.congestion_control = "unknown"
        self.strangers = 0  # connections refused, and greetings too many
        self.last_refusal: dict[str | None, str] = {}  # by the peer that was dialled, or claimed
        self._on_arrival = on_arrival
        self._on_failure = on_failure
        self._closing = False
        self._connections: dict[str, Connection] = {}
        self._ungreeted: dict[Connection, None] = {}  # that came in, oldest first
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    async def listen(self, address: str, port: int = PORT) -> int:
        """Starts accepting peers; returns the port (of use when `port` is 0)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, None), address, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def connect(self, peer: str, address: str, port: int = PORT, timeout_s: float = CONNECT_S) -> None:
        """Dials `peer` until both have proven who they are; tries again while the peer is not listening yet."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._dial(peer, address, port):
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            why = f": it {self.last_refusal[peer]}" if peer in self.last_refusal else ""
            raise TestbedError(f"cannot reach {peer} at {address} within {timeout_s:.0f} s{why}") from None

    async def _dial(self, peer: str, address: str, port: int) -> bool:
        loop = asyncio.get_running_loop()
        connection = Connection(self, peer)
        try:
            await loop.create_connection(lambda: connection, address, port)
            await connection.settled.wait()
        except ConnectionRefusedError:
            return False
        finally:
            if connection.peer is None and connection.transport is not None:
                connection.transport.abort()
        return connection.peer is not None

    async def wait_for(self, peers: list[str], timeout_s: float = CONNECT_S) -> None:
        """Returns once every one of `peers` is connected."""
        try:
            async with asyncio.timeout(timeout_s):
                while not set(peers) <= set(self._connections):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = sorted(set(peers) - set(self._connections))
            raise TestbedError(f"no hello from {', '.join(missing)} within {timeout_s:.0f} s") from None

    def send(self, peer: str, message: Message) -> None:
        self._connections[peer].send(message)

    def peers(self) -> list[str]:
        return sorted(self._connections)

    async def close(self) -> None:
        self._closing = True
        if self._server is not None:
            self._server.close()
        for connection in [*self._connections.values(), *self._ungreeted]:
            if connection.transport is not None:
                connection.transport.close()

    # --- called by connections ---

    def has_room(self, connection: Connection) -> bool:
        """Whether one more may try to prove itself; it is counted in if so."""
        same = sum(one.address == connection.address for one in self._ungreeted)
        if same >= STRANGERS_PER_ADDRESS or len(self._ungreeted) >= STRANGERS + len(self.keys):
            self.refused(connection, "is one too many that has not proven itself")
            return False
        self._ungreeted[connection] = None
        return True

    def greeted(self, connection: Connection) -> None:
        assert connection.peer is not None
        self._ungreeted.pop(connection, None)
        self._connections[connection.peer] = connection
        self._changed.set()

    def refused(self, connection: Connection, why: str) -> None:
        """A stranger's business, not the run's: said in the log, and counted."""
        self.strangers += 1
        self.last_refusal[connection.claimed] = why
        if self.strangers <= STRANGERS_SAID:
            end = "; no more of these are said" if self.strangers == STRANGERS_SAID else ""
            print(f"{self.node}: refused a connection with {connection.address}: it {why}{end}", file=sys.stderr)

    def lost(self, connection: Connection) -> None:
        self._ungreeted.pop(connection, None)
        if connection.peer is not None and self._connections.get(connection.peer) is connection:
            del self._connections[connection.peer]
            if not self._closing:
                self.failed(f"the connection to {connection.peer} was lost")

    def arrived(self, arrival: Arrival) -> None:
        self._on_arrival(arrival)

    def failed(self, error: str) -> None:
        self._on_failure(error)
