"""Who may speak to a node: peers that prove the pair's key, and nobody else, whatever a stranger sends."""

import asyncio
import contextlib
import resource
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed import errors
from testbed.wire import connection, tcp
from testbed.wire.framing import HEADER_BYTES, MAX_FRAME_BYTES, MAX_GREETING_BYTES, Frames, decode, encode
from testbed.wire.greeting import NONCE_BYTES, Greeting, keys_of, new_nonce, new_secret
from testbed.wire.messages import PROTOCOL_VERSION, Close, Envelope, Hello, Ping, Proof
from testbed.wire.tcp import TcpEndpoint

SECRET = new_secret()
HTTP = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def framed(message):
    return encode(Envelope(0, 1, message))


class Node:
    """A listening node `a` with its peer `b` connected; failures and arrivals are kept."""

    async def __aenter__(self):
        self.failures, self.arrivals = [], []
        self.a = TcpEndpoint("a", self.arrivals.append, self.failures.append, keys_of(SECRET, "a", ["b", "c"]))
        self.b = TcpEndpoint("b", lambda _: None, self.failures.append, keys_of(SECRET, "b", ["a"]))
        self.port = await self.a.listen("127.0.0.1", 0)
        await self.b.connect("a", "127.0.0.1", self.port)
        await self.a.wait_for(["b"])
        return self

    async def __aexit__(self, *_):
        await asyncio.gather(self.a.close(), self.b.close())

    async def stranger(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def still_works(self):
        """The peer is the first one still, and is heard."""
        count = len(self.arrivals)
        self.b.send("a", Close(count))
        async with asyncio.timeout(5):
            while len(self.arrivals) == count:
                await asyncio.sleep(0.005)
        assert self.arrivals[-1].message == Close(count)
        assert self.a.peers() == ["b"]
        assert self.failures == []


async def closed(reader):
    """Until the node closes; what it had said."""
    said = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(5):
            while data := await reader.read(1 << 16):
                said += data
    return said


async def greet_as(name, reader, writer, key=None, nonce=None):
    """Says hello as a dialling node would, with the proof for `key`; the hello of the node."""
    nonce = nonce or new_nonce()
    writer.write(framed(Hello(name, nonce)))
    frames = Frames()
    while not (messages := [decode(one).message for one in frames.feed(await reader.read(4096))]):
        pass
    (hello,) = messages
    assert isinstance(hello, Hello)
    if key is not None:
        writer.write(framed(Proof(Greeting(name, hello.node, nonce, hello.nonce).proof(key, "dialled"))))
    return hello


UNWELCOME = {
    "an HTTP request": HTTP,
    "a frame of 16 MiB": (16 * 1024 * 1024).to_bytes(4, "big") + bytes(1 << 20),
    "a frame over the greeting's limit": (MAX_GREETING_BYTES + 1).to_bytes(4, "big"),
    "noise": bytes(range(256)),
    "text that is not UTF-8": framed(Hello("bb", bytes(16))).replace(b"bb", b"b\xff"),
    "a message before authenticating": framed(Close(1)),
    "a ping before its hello": framed(Ping(1)),
    "a proof before its hello": framed(Proof(bytes(32))),
    "another protocol": framed(Hello("b", bytes(16), PROTOCOL_VERSION + 1)),
    "a name that is not a peer": framed(Hello("stranger", bytes(16))),
    "the node's own name": framed(Hello("a", bytes(16))),
    "two hellos": framed(Hello("c", bytes(16))) * 2,
    "a wrong proof": framed(Hello("c", bytes(16))) + framed(Proof(bytes(32))),
    "a message after its hello": framed(Hello("c", bytes(16))) + framed(Close(1)),
    "nesting": (500).to_bytes(4, "big") + b"\x91" * 500,
}


@pytest.mark.parametrize("what", UNWELCOME)
def test_a_stranger_is_closed_and_the_peer_stays(what):
    async def scenario():
        async with Node() as node:
            reader, writer = await node.stranger()
            with contextlib.suppress(ConnectionError):
                writer.write(UNWELCOME[what])
                await writer.drain()
            await closed(reader)
            writer.close()
            await node.still_works()
            assert node.a.strangers == 1

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(
    st.binary(max_size=700),
    st.sampled_from([*UNWELCOME.values()]),
    st.builds(Hello, st.sampled_from(["b", "c", "a", "x"]), st.binary(max_size=40)).map(framed),
    st.builds(Proof, st.binary(max_size=40)).map(framed),
), max_size=6))  # fmt: skip
def test_nothing_that_strangers_write_ends_the_node_or_is_heard(pieces):
    async def scenario():
        async with Node() as node:
            _, writer = await node.stranger()
            for piece in pieces:
                with contextlib.suppress(ConnectionError):
                    writer.write(piece)
                    await writer.drain()
            writer.close()
            await node.still_works()
            assert all(one.sender == "b" for one in node.arrivals)

    asyncio.run(scenario())


def test_a_right_proof_for_a_name_that_is_connected_is_refused_and_the_first_stays():
    async def scenario():
        async with Node() as node:
            reader, writer = await node.stranger()
            await greet_as("b", reader, writer, keys_of(SECRET, "b", ["a"])["a"])
            await closed(reader)
            writer.close()
            await node.still_works()
            assert "second b; the first stays" in node.a.last_refusal["b"]

    asyncio.run(scenario())


def test_a_second_hello_of_a_peer_on_its_own_connection_changes_nothing():
    async def scenario():
        async with Node() as node:
            node.b.send("a", Hello("c", bytes(NONCE_BYTES)))
            await node.still_works()
            assert node.a.strangers == 1

    asyncio.run(scenario())


def test_a_recorded_greeting_is_worth_nothing_on_another_connection(monkeypatch):
    monkeypatch.setattr(tcp, "RESUME_S", 0.2)

    async def scenario():
        async with Node() as node:
            key, nonce = keys_of(SECRET, "c", ["a"])["a"], new_nonce()
            reader, writer = await node.stranger()
            hello = await greet_as("c", reader, writer, key, nonce)
            await node.a.wait_for(["c"])  # right the first time
            node.failures.clear()
            writer.close()
            async with asyncio.timeout(30):
                while not node.failures:
                    await asyncio.sleep(0.005)
            # a peer's end, unlike a stranger's, is news
            assert len(node.failures) == 1 and node.failures[0].startswith("the connection to c was lost")
            node.failures.clear()
            reader, writer = await node.stranger()
            proof = Greeting("c", "a", nonce, hello.nonce).proof(key, "dialled")
            writer.write(framed(Hello("c", nonce)) + framed(Proof(proof)))
            await closed(reader)
            writer.close()
            await node.still_works()

    asyncio.run(scenario())


def test_a_node_proves_nothing_to_somebody_who_has_not():
    """Else one could let two nodes prove themselves to each other and speak for either."""

    async def scenario():
        async with Node() as node:
            reader, writer = await node.stranger()
            writer.write(framed(Hello("c", bytes(NONCE_BYTES))))
            await asyncio.sleep(0.1)
            writer.write(framed(Proof(bytes(32))))
            said = [decode(one).message for one in Frames().feed(await closed(reader))]
            assert [type(one) for one in said] == [Hello]

    asyncio.run(scenario())


def test_a_key_fits_one_pair_and_one_side():
    greeting = Greeting("b", "a", bytes(16), bytes(range(16)))
    key = keys_of(SECRET, "a", ["b"])["b"]
    assert key == keys_of(SECRET, "b", ["a"])["a"]
    assert key not in (keys_of(SECRET, "a", ["c"])["c"], keys_of(new_secret(), "a", ["b"])["b"])
    assert greeting.proven(key, "dialled", greeting.proof(key, "dialled"))
    assert not greeting.proven(key, "listened", greeting.proof(key, "dialled"))
    assert not Greeting("a", "b", bytes(16), bytes(range(16))).proven(key, "dialled", greeting.proof(key, "dialled"))


def test_silence_and_single_bytes_are_given_a_limited_time(monkeypatch):
    monkeypatch.setattr(connection, "GREETING_S", 0.3)

    async def scenario():
        async with Node() as node:
            silent, _ = await node.stranger()
            slow, writer = await node.stranger()

            async def drip():
                with contextlib.suppress(ConnectionError):
                    for byte in framed(Hello("c", bytes(NONCE_BYTES)))[:-1]:
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(0.05)

            await asyncio.gather(closed(silent), closed(slow), drip())
            await node.still_works()
            assert node.a.strangers == 2

    asyncio.run(scenario())


def test_many_silent_strangers_leave_room_and_memory(monkeypatch):
    """300 of them with 16 MiB each to send: those over the limit are closed, peers still get in, memory stays flat."""
    monkeypatch.setattr(tcp, "STRANGERS_PER_ADDRESS", 20)

    async def scenario():
        async with Node() as node:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            strangers = [await node.stranger() for _ in range(300)]
            for _, writer in strangers:
                with contextlib.suppress(ConnectionError):
                    writer.write(struct.pack(">I", MAX_GREETING_BYTES))  # and not one byte more
            await asyncio.sleep(0.2)
            await node.still_works()
            assert node.a.strangers == 300 - 20
            for _, writer in strangers[20:40]:
                writer.close()
            grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown_kb < 40_000  # of 300 x 16 MiB; both ends are in this process
            for _, writer in strangers:
                writer.close()
            await asyncio.sleep(0.1)
            c = TcpEndpoint("c", lambda _: None, node.failures.append, keys_of(SECRET, "c", ["a"]))
            await c.connect("a", "127.0.0.1", node.port)
            assert node.a.peers() == ["b", "c"]
            node.a._closing = True  # c's end is not what is tested here
            await c.close()

    asyncio.run(scenario())


def test_a_peer_gets_in_once_strangers_have_gone(monkeypatch):
    monkeypatch.setattr(tcp, "STRANGERS_PER_ADDRESS", 1)
    monkeypatch.setattr(connection, "GREETING_S", 0.4)

    async def scenario():
        async with Node() as node:
            await node.stranger()
            c = TcpEndpoint("c", lambda _: None, node.failures.append, keys_of(SECRET, "c", ["a"]))
            await c.connect("a", "127.0.0.1", node.port)
            assert "c" in node.a.peers()
            node.a._closing = True
            await c.close()

    asyncio.run(scenario())


def test_who_dials_a_node_without_its_key_is_told_whom_it_could_not_reach():
    async def scenario():
        async with Node() as node:
            c = TcpEndpoint("c", lambda _: None, node.failures.append, keys_of(new_secret(), "c", ["a"]))
            with pytest.raises(errors.TestbedError, match=r"cannot reach a at 127\.0\.0\.1 within 1 s"):
                await c.connect("a", "127.0.0.1", node.port, timeout_s=0.6)
            await node.still_works()

    asyncio.run(scenario())


def test_a_greeting_fits_its_limit_and_a_message_may_be_larger_after_it():
    assert len(framed(Hello("n" * 255, bytes(NONCE_BYTES)))) < MAX_GREETING_BYTES
    frames = Frames(MAX_GREETING_BYTES)
    large = framed(Hello("n" * 600, b""))
    stream = frames.feed(framed(Close(1)) + large)
    assert decode(next(stream)).message == Close(1)
    frames.limit = MAX_FRAME_BYTES
    assert HEADER_BYTES + len(next(stream)) == len(large)
