"""Messages over persistent TCP connections, one per pair of nodes, without Nagle's delay.

asyncio sets TCP_NODELAY itself; it is set and read back here all the same, because a silent 40 ms would look like WAN.
Congestion control is pinned (RFC 8312 cubic, else reno), since the machine's default differs from host to host.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

from testbed.errors import TestbedError
from testbed.wire.framing import Framer, ProtocolError, encode
from testbed.wire.messages import PROTOCOL_VERSION, Envelope, Hello, Message, Ping, Pong
from testbed.wire.transport import Arrival, OnArrival

CONGESTION_CONTROL = ("cubic", "reno")
PORT = 7433


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
    """One connection: says Hello first, answers pings, hands everything else to its endpoint."""

    def __init__(self, endpoint: TcpEndpoint, peer: str | None) -> None:
        self._endpoint = endpoint
        self._framer = Framer()
        self._sequence = 0
        self._greeted = False
        self.peer = peer
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock = transport.get_extra_info("socket")
        self._endpoint.congestion_control = tune(sock)
        self.send(Hello(node=self._endpoint.node))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        try:
            for envelope, size in self._framer.feed(data):
                self._received(envelope, size, now)
        except ProtocolError as error:
            self._endpoint.failed(f"{self.peer or 'an unknown peer'} {error}")
            assert self.transport is not None
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.lost(self)

    def send(self, message: Message) -> None:
        assert self.transport is not None
        self._sequence += 1
        self.transport.write(encode(Envelope(time.monotonic_ns(), self._sequence, message)))

    def _received(self, envelope: Envelope, size: int, now: int) -> None:
        match envelope.message:
            case Hello(node=node, version=version):
                if version != PROTOCOL_VERSION:
                    raise ProtocolError(f"speaks protocol {version}, this node speaks {PROTOCOL_VERSION}")
                if self.peer is not None and node != self.peer:
                    raise ProtocolError(f"dialled {self.peer}, but {node} answered")
                self.peer = node
                self._greeted = True
                self._endpoint.greeted(self)
            case _ if not self._greeted:
                raise ProtocolError("sent a message before its hello")
            case Ping(sent_ns=sent_ns):
                self.send(Pong(ping_sent_ns=sent_ns))
            case message:
                assert self.peer is not None
                self._endpoint.arrived(Arrival(self.peer, message, envelope.sent_ns, now, size))


class TcpEndpoint:
    """All connections of one node; implements `Transport`."""

    def __init__(self, node: str, on_arrival: OnArrival, on_failure: Callable[[str], None]) -> None:
        """`on_failure` hears, in a few words, of a peer that breaks the protocol and of a connection that is lost."""
        self.node = node
        self.congestion_control = "unknown"
        self._on_arrival = on_arrival
        self._on_failure = on_failure
        self._closing = False
        self._connections: dict[str, Connection] = {}
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    async def listen(self, address: str, port: int = PORT) -> int:
        """Starts accepting peers; returns the port (of use when `port` is 0)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, None), address, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def connect(self, peer: str, address: str, port: int = PORT, timeout_s: float = 10.0) -> None:
        """Dials `peer` and waits for its hello; retries while the peer is not listening yet."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        await loop.create_connection(lambda: Connection(self, peer), address, port)
                        break
                    except ConnectionRefusedError:
                        await asyncio.sleep(0.05)
        except TimeoutError:
            raise TestbedError(f"cannot reach {peer} at {address} within {timeout_s:.0f} s") from None
        await self.wait_for([peer], timeout_s)

    async def wait_for(self, peers: list[str], timeout_s: float = 10.0) -> None:
        """Returns once every one of `peers` has said hello."""
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
        for connection in list(self._connections.values()):
            if connection.transport is not None:
                connection.transport.close()

    # --- called by connections ---

    def greeted(self, connection: Connection) -> None:
        assert connection.peer is not None
        self._connections[connection.peer] = connection
        self._changed.set()

    def lost(self, connection: Connection) -> None:
        if connection.peer is not None and self._connections.get(connection.peer) is connection:
            del self._connections[connection.peer]
            if not self._closing:
                self.failed(f"the connection to {connection.peer} was lost")

    def arrived(self, arrival: Arrival) -> None:
        self._on_arrival(arrival)

    def failed(self, error: str) -> None:
        self._on_failure(error)
