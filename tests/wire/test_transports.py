"""Both transports carry the same messages in order; TCP has no Nagle delay and checks its peer."""

import asyncio
import socket

import pytest

from testbed import errors
from testbed.wire.connection import tune
from testbed.wire.greeting import keys_of, new_secret
from testbed.wire.memory import MemoryHub
from testbed.wire.messages import Close, Ping, Pong, Validation
from testbed.wire.tcp import TcpEndpoint

SECRET = new_secret()


def endpoint_of(name, inbox, on_failure, peers="ab"):
    return TcpEndpoint(name, inbox, on_failure, keys_of(SECRET, name, peers))


class Inbox:
    def __init__(self):
        self.arrivals = []
        self.event = asyncio.Event()

    def __call__(self, arrival):
        self.arrivals.append(arrival)
        self.event.set()

    async def wait(self, count):
        async with asyncio.timeout(5):
            while len(self.arrivals) < count:
                self.event.clear()
                await self.event.wait()


def unexpected(failure):
    raise AssertionError(failure)


async def tcp_pair():
    inboxes = {name: Inbox() for name in "ab"}
    a, b = (endpoint_of(name, inboxes[name], unexpected) for name in "ab")
    port = await a.listen("127.0.0.1", 0)
    await b.connect("a", "127.0.0.1", port)
    await a.wait_for(["b"])
    return a, b, inboxes


def test_tcp_keeps_order_and_stamps_both_ends():
    async def scenario():
        a, b, inboxes = await tcp_pair()
        for number in range(200):
            b.send("a", Close(number))
        await inboxes["a"].wait(200)
        await asyncio.gather(a.close(), b.close())
        return inboxes["a"].arrivals

    arrivals = asyncio.run(scenario())
    assert [arrival.message.request for arrival in arrivals] == list(range(200))
    assert all(arrival.sender == "b" and arrival.sent_ns <= arrival.received_ns for arrival in arrivals)


def test_tcp_sockets_have_no_delay_and_a_pinned_congestion_control():
    with socket.socket() as sock:
        name = tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert name in ("cubic", "reno")


def test_pings_are_answered_below_the_roles():
    async def scenario():
        a, b, inboxes = await tcp_pair()
        b.send("a", Ping(123))
        await inboxes["b"].wait(1)
        await asyncio.gather(a.close(), b.close())
        return inboxes

    inboxes = asyncio.run(scenario())
    assert [arrival.message for arrival in inboxes["b"].arrivals] == [Pong(123)]
    assert inboxes["a"].arrivals == []


def test_a_lost_connection_is_reported_once_and_names_the_peer():
    async def scenario():
        failures = []
        a = endpoint_of("a", Inbox(), failures.append)
        b = endpoint_of("b", Inbox(), unexpected)
        await b.connect("a", "127.0.0.1", await a.listen("127.0.0.1", 0))
        await a.wait_for(["b"])
        await b.close()
        async with asyncio.timeout(5):
            while not failures:
                await asyncio.sleep(0.01)
        await a.close()
        return failures

    assert asyncio.run(scenario()) == ["the connection to b was lost"]


def test_a_peer_that_never_answers_is_named():
    async def scenario():
        a = endpoint_of("a", Inbox(), unexpected)
        try:
            await a.wait_for(["ghost"], timeout_s=0.05)
        finally:
            await a.close()

    with pytest.raises(errors.TestbedError, match="no hello from ghost"):
        asyncio.run(scenario())


def test_memory_transport_delays_each_direction_and_keeps_order():
    async def scenario():
        inboxes = {name: Inbox() for name in "ab"}
        hub = MemoryHub({("a", "b"): 20.0})
        a, _ = hub.endpoint("a", inboxes["a"]), hub.endpoint("b", inboxes["b"])
        for number in range(50):
            a.send("b", Validation(1, number, (number,)))
        await inboxes["b"].wait(50)
        return inboxes["b"].arrivals

    arrivals = asyncio.run(scenario())
    assert [arrival.message.position for arrival in arrivals] == list(range(50))
    assert all(arrival.received_ns - arrival.sent_ns >= 20e6 for arrival in arrivals)
