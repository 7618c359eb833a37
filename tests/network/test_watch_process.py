"""The in-run probe's own process books each echo to the probe it answers, and nobody else's. On loopback."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from testbed.network.probe_process import PACKET, SO_TIMESTAMPNS
from testbed.network.watch_process import Prober

ADDRESSES = ["127.0.0.1", "127.0.0.2"]


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ADDRESSES]
    port = 0
    for one, address in zip(opened, ADDRESSES, strict=True):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        one.bind((address, port))
        port = one.getsockname()[1]
    yield opened
    for one in opened:
        one.close()


def prober(sockets: list[socket.socket]) -> Prober:
    nodes = [{"address": address, "pid": 0} for address in ADDRESSES]
    port = sockets[0].getsockname()[1]
    return Prober({"nodes": nodes, "pairs": [[0, 1]], "port": port, "interval_ns": 1_000_000}, sockets)


def let_pass(prober: Prober, sock: socket.socket) -> None:
    assert select.select([sock], (), (), 5)[0]
    prober.receive(sock)


def test_a_probe_and_its_echo_are_one_row(sockets: list[socket.socket]) -> None:
    own = prober(sockets)
    for _ in range(3):
        own.send(own.due_ns())
        let_pass(own, sockets[1])
        let_pass(own, sockets[0])
    assert len(own.probes) == 3
    for pair, sent_ns, forward_ns, backward_ns in own.probes:
        assert pair == 0 and sent_ns and forward_ns is not None and backward_ns is not None


def test_an_echo_that_a_full_buffer_kept_since_the_phase_before_is_nobody_s(sockets: list[socket.socket]) -> None:
    before, own = prober(sockets), prober(sockets)
    before.send(before.due_ns())
    let_pass(before, sockets[1])
    own.send(own.due_ns())
    let_pass(own, sockets[0])
    assert own.probes[0][2:] == [None, None]


@pytest.mark.parametrize("strange", [b"", b"short", bytes(PACKET.size), bytes(PACKET.size + 1)])
def test_a_stranger_s_datagram_is_ignored_and_what_follows_it_counts(
    sockets: list[socket.socket], strange: bytes
) -> None:
    own = prober(sockets)
    own._token = 7  # not the zeros above, by chance
    for target, source in (sockets, reversed(sockets)):
        source.sendto(strange, target.getsockname())
    own.send(own.due_ns())
    let_pass(own, sockets[1])
    let_pass(own, sockets[0])
    (only,) = own.probes
    assert None not in only
