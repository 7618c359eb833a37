"""Messages over persistent TCP connections, one per pair of nodes, without Nagle's delay.

A connection that breaks while both programs live is made again, and what it lost is sent again (`delivery`); a peer
that hangs up, stays away, or was started anew is lost.

Rule kept: a connection that cannot prove a pair's key (`greeting`) is closed, costs little memory and time until then,
and ends neither the node nor the connection of the peer it claims to be.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping

from testbed.clock.api import WALL, Clock
from testbed.clock.waiting import longest_s
from testbed.errors import TestbedError
from testbed.wire import tcpinfo
from testbed.wire.connection import Connection, Stream
from testbed.wire.delivery import Delivery
from testbed.wire.messages import Again, Envelope, Hello, Message, Ping, Pong, Proof
from testbed.wire.tcpinfo import TcpState
from testbed.wire.transport import Arrival, OnArrival

PORT = 7433
STRANGERS = 64  # connections without a proof, over and above one of each peer
STRANGERS_PER_ADDRESS = 8
STRANGERS_SAID = 20  # lines in the log; the rest is only counted
RETRY_S = 0.05
CONNECT_S = 20.0
RESUME_S = 3.0  # until a connection that broke is there again
OF_THE_WIRE = (Hello, Proof, Ping, Pong, Again)  # not numbered, never sent again


class TcpEndpoint:
    """All connections of one node; implements `Transport`."""

    def __init__(
        self,
        node: str,
        on_arrival: OnArrival,
        on_failure: Callable[[str], None],
        keys: Mapping[str, bytes] | None = None,
        clock: Clock = WALL,
    ) -> None:
        """`on_failure` hears, in a few words, of a peer that breaks the protocol and of a connection that is lost.

        `keys` are those of `greeting.keys_of`: a peer without a key is rejected.
        """
        self.node = node
        self.clock = clock
        self.now_ns = clock.now_ns
        self.incarnation = time.monotonic_ns()
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
        self._streams: dict[str, Stream] = {}
        self._dialled: dict[str, tuple[str, int]] = {}
        self._resuming: dict[str, asyncio.Task[None]] = {}  # peers whose connection broke

    async def listen(self, address: str, port: int = PORT) -> int:
        """Starts accepting peers; returns the port (of use when `port` is 0)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, None), address, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def connect(self, peer: str, address: str, port: int = PORT, timeout_s: float = CONNECT_S) -> None:
        """Dials `peer` until both have proven who they are; tries again while the peer is not listening yet."""
        try:
            async with asyncio.timeout(longest_s(self.clock, timeout_s)):
                while not await self._dial(peer, address, port):
                    await asyncio.sleep(RETRY_S)
            self._dialled[peer] = address, port
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
            async with asyncio.timeout(longest_s(self.clock, timeout_s)):
                while not set(peers) <= set(self._connections):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            missing = sorted(set(peers) - set(self._connections))
            raise TestbedError(f"no hello from {', '.join(missing)} within {timeout_s:.0f} s") from None

    def send(self, peer: str, message: Message) -> None:
        if isinstance(message, OF_THE_WIRE):
            self._connections[peer].send(message)
            return
        stream = self._streams[peer]
        envelope = Envelope(self.now_ns(), stream.next_number(), message)
        stream.keep(envelope.sequence, envelope)
        if peer in self._connections:  # else it is asked for once there is a connection again
            self._connections[peer].write(envelope)

    def peers(self) -> list[str]:
        return sorted(self._connections)

    def tcp_states(self) -> dict[str, TcpState]:
        """Of the connections there are, by peer."""
        return {
            peer: tcpinfo.of(one.transport.get_extra_info("socket"))
            for peer, one in self._connections.items()
            if one.transport is not None and not one.transport.is_closing()
        }

    async def close(self) -> None:
        self._closing = True
        if self._server is not None:
            self._server.close()
        for task in self._resuming.values():
            task.cancel()
        for connection in [*self._connections.values(), *self._ungreeted]:
            if connection.transport is not None:
                connection.transport.close()

    # --- called by connections ---

    def has_room(self, connection: Connection) -> bool:
        """Whether one more may try to prove itself; it is counted in if so."""
        same = sum(one.address == connection.address for one in self._ungreeted)
        if same >= STRANGERS_PER_ADDRESS or len(self._ungreeted) >= STRANGERS + len(self.keys):
            self.refused(connection, "exceeds the limit of unauthenticated connections")
            return False
        self._ungreeted[connection] = None
        return True

    def greeted(self, connection: Connection) -> None:
        assert connection.peer is not None
        self._ungreeted.pop(connection, None)
        if not self._streams.setdefault(connection.peer, Delivery()).knows(connection.incarnation):
            self.failed(f"{connection.peer} was restarted: its state of the run is gone")
            connection.abort()
            return
        self._connections[connection.peer] = connection
        self._changed.set()
        if (resuming := self._resuming.pop(connection.peer, None)) is not None:
            resuming.cancel()
            self._streams[connection.peer].interrupted()
            connection.send(Ping(self.now_ns()))  # so that the peer knows at once what it has missed

    def refused(self, connection: Connection, why: str) -> None:
        """A stranger's business, not the run's: said in the log, and counted."""
        self.strangers += 1
        self.last_refusal[connection.claimed] = why
        if self.strangers <= STRANGERS_SAID:
            end = "; further ones are not reported" if self.strangers == STRANGERS_SAID else ""
            print(f"{self.node}: refused a connection with {connection.address}: it {why}{end}", file=sys.stderr)

    def lost(self, connection: Connection, broken: bool) -> None:
        """`broken`: it ended with an error, so the peer need not have gone; one that has gone hangs up."""
        self._ungreeted.pop(connection, None)
        peer = connection.peer
        if peer is None or self._connections.get(peer) is not connection:
            return
        del self._connections[peer]
        if self._closing:
            return
        if broken:
            self._resuming[peer] = asyncio.get_running_loop().create_task(self._resume(peer))
        else:
            self.failed(f"the connection to {peer} was lost")

    async def _resume(self, peer: str) -> None:
        """Until `greeted` ends it, or time does."""
        try:
            async with asyncio.timeout(longest_s(self.clock, RESUME_S)):
                while peer not in self._dialled or not await self._dial(peer, *self._dialled[peer]):
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            self._resuming.pop(peer, None)
            self.failed(f"the connection to {peer} was lost, and could not be re-established within {RESUME_S:.0f} s")

    # --- what policies say, in order and once ---

    def stream(self, peer: str) -> Stream:
        return self._streams[peer]

    def sent_to(self, peer: str | None) -> int:
        """The number of the last message that a policy had for this peer."""
        return self._streams[peer].sent if peer in self._streams else 0

    def said(self, connection: Connection, envelope: Envelope, size: int, now: int) -> None:
        assert connection.peer is not None
        stream = self._streams[connection.peer]
        for one, framed, received_ns in stream.received(envelope.sequence, (envelope, size, now)):
            self.arrived(Arrival(connection.peer, one.message, one.sent_ns, received_ns, framed))
        self.heard_of(connection, envelope.sequence)

    def heard_of(self, connection: Connection, number: int) -> None:
        """The peer has said so much by now."""
        assert connection.peer is not None
        stream = self._streams[connection.peer]
        if stream.misses(number):
            connection.send(Again(stream.heard))

    def send_again(self, connection: Connection, after: int) -> None:
        assert connection.peer is not None
        kept = self._streams[connection.peer].again(after)
        if kept is None:
            self.failed(f"{connection.peer} has missed more messages than the resend buffer keeps")
            return
        for _, envelope in kept:
            connection.write(envelope)

    def arrived(self, arrival: Arrival) -> None:
        self._on_arrival(arrival)

    def failed(self, error: str) -> None:
        self._on_failure(error)
