"""The in-run probe's own process books each echo to the probe it answers, and nobody else's. On loopback."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from io import StringIO
from typing import TextIO

import pytest

from testbed.network.measure.probe_process import PACKET
from testbed.network.measure.watch_process import FLUSH_PROBES, LATEST_NS, Prober
from testbed.system.linux import SO_TIMESTAMPNS

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


def prober(sockets: list[socket.socket], log: TextIO | None = None) -> Prober:
    nodes = [{"address": address, "pid": 0} for address in ADDRESSES]
    port = sockets[0].getsockname()[1]
    return Prober(
        {"nodes": nodes, "pairs": [[0, 1]], "port": port, "interval_ns": 1_000_000}, sockets, log or StringIO()
    )


def finished(prober: Prober) -> list[list[int | None]]:
    """What is in its file at the end."""
    prober.finish()
    assert isinstance(prober._log, StringIO)
    return [json.loads(line) for line in prober._log.getvalue().splitlines()]


def let_pass(prober: Prober, sock: socket.socket) -> None:
    assert select.select([sock], (), (), 5)[0]
    prober.receive(sock)


def test_a_probe_and_its_echo_are_one_row(sockets: list[socket.socket]) -> None:
    own = prober(sockets)
    for _ in range(3):
        own.send(own.due_ns())
        let_pass(own, sockets[1])
        let_pass(own, sockets[0])
    rows = finished(own)
    assert len(rows) == 3
    for pair, sent_ns, forward_ns, backward_ns in rows:
        assert pair == 0 and sent_ns and forward_ns is not None and backward_ns is not None


def test_an_echo_that_a_full_buffer_kept_since_the_phase_before_is_nobody_s(sockets: list[socket.socket]) -> None:
    before, own = prober(sockets), prober(sockets)
    before.send(before.due_ns())
    let_pass(before, sockets[1])
    own.send(own.due_ns())
    let_pass(own, sockets[0])
    assert finished(own)[0][2:] == [None, None]


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
    (only,) = finished(own)
    assert None not in only
    assert own.strange.count == 2


def test_a_long_phase_holds_no_more_than_what_may_still_come_back(sockets: list[socket.socket]) -> None:
    """Nothing echoes here, so every probe waits until it is lost; time is the test's own."""
    own = prober(sockets)
    for _ in range(5 * FLUSH_PROBES):
        own.send(own.due_ns())
        for probe in own._open.values():
            probe[1] -= LATEST_NS // 100  # type: ignore[operator]
        assert len(own._open) <= 102 and len(own._over) < FLUSH_PROBES
    assert own.sent == 5 * FLUSH_PROBES
    assert own._log.getvalue().count("\n") >= 4 * FLUSH_PROBES  # type: ignore[attr-defined]
    rows = finished(own)
    assert len(rows) == own.sent and all(row[2:] == [None, None] for row in rows)


def test_an_echo_that_comes_after_its_probe_was_given_up_is_nobody_s(sockets: list[socket.socket]) -> None:
    own = prober(sockets)
    own.send(own.due_ns())
    own._open[0][1] -= 2 * LATEST_NS  # type: ignore[operator]
    own.send(own.due_ns())
    let_pass(own, sockets[1])
    let_pass(own, sockets[0])
    first, second = finished(own)
    assert first[2:] == [None, None] and second[2] is not None and second[3] is not None


def test_a_probe_of_another_token_is_not_even_answered(sockets: list[socket.socket]) -> None:
    """Else strangers could have nodes send for them."""
    own = prober(sockets)
    packet = PACKET.pack(own._token ^ 1, 0, 0, 0, 0, 0)
    sockets[0].sendto(packet, sockets[1].getsockname())
    let_pass(own, sockets[1])
    assert not select.select([sockets[0]], (), (), 0.1)[0]
    assert own.strange.count == 1
