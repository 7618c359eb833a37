"""What the kernel says of a connection, and what TCP's timers must be at each dilation."""

from __future__ import annotations

import socket
import struct

import pytest

from testbed.wire import tcpinfo
from testbed.wire.connection import congestion_control, tune
from testbed.wire.tcpinfo import NONE_SENT_AGAIN, TcpState, least_timeout_ms, longest_cut_s, longest_timeout_s, parse


def test_the_fields_are_where_linux_has_them() -> None:
    info = bytearray(256)
    struct.pack_into("=I", info, 8, 244_000)
    struct.pack_into("=I", info, 100, 5)
    struct.pack_into("=I", info, 216, 2)
    assert parse(bytes(info)) == TcpState(244.0, 5, 2)
    assert parse(bytes(info[:192])) == TcpState(244.0, 5, 0), "as kernels before 4.19 have it"


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


def test_a_connection_is_read() -> None:
    one, other = connected()
    with one, other:
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        state = tcpinfo.of(one)
        assert state.sent_again == state.duplicates == 0
        assert 1 <= state.timeout_ms <= 3000  # as the machine's own routes have it


def test_what_was_sent_again_is_counted_from_a_moment_on() -> None:
    now = TcpState(200.0, 7, 3)
    assert now.since(NONE_SENT_AGAIN) == now
    assert now.since(TcpState(1000.0, 5, 2)) == TcpState(200.0, 2, 1)
    assert now.since(TcpState(200.0, 9, 0)) == now, "it is another connection"


@pytest.mark.parametrize(("dilation", "chosen"), [(1.0, "cubic"), (2.0, "reno"), (0.25, "reno")])
def test_a_dilated_run_has_no_congestion_control_that_counts_seconds(dilation: float, chosen: str) -> None:
    assert congestion_control(dilation)[0] == chosen
    with socket.socket() as sock:
        assert tune(sock, dilation) in congestion_control(dilation)


def test_timers_in_wall_and_in_virtual_time() -> None:
    assert [least_timeout_ms(n) for n in (0.25, 1, 4)] == [50, 200, 800]
    assert [longest_timeout_s(n) for n in (0.25, 1, 4)] == [480, 120, 30]


@pytest.mark.parametrize("dilation", [0.25, 1.0, 4.0, 50.0])
def test_a_cut_that_is_allowed_never_meets_the_longest_timeout(dilation: float) -> None:
    """TCP's tries, carried out: the timeout in which the link comes back is the same as without a longest one."""
    rtt_ms = 40.0
    cut_s = longest_cut_s(dilation, rtt_ms)
    first_s = (least_timeout_ms(1) + rtt_ms) / 1e3
    in_life, here = (comes_back_s(cut_s, first_s, most_s) for most_s in (120.0, longest_timeout_s(dilation)))
    assert here == in_life
    assert comes_back_s(2.2 * cut_s, first_s, 120.0 / max(dilation, 1.0)) < comes_back_s(2.2 * cut_s, first_s, 1e9)


def comes_back_s(cut_s: float, first_s: float, most_s: float) -> float:
    """When, after the cut, a connection first tries again with the link up."""
    at_s, timeout_s = 0.0, first_s
    while at_s < cut_s:
        at_s += min(timeout_s, most_s)
        timeout_s *= 2
    return at_s
