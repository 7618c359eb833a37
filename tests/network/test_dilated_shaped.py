"""Links and TCP at another dilation than 1: in virtual time as undilated, on each fabric, with and without loss.

The page of a run's clock is all that says so: these are the fabrics, routes, sockets and probes that a run has.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.clock.api import Clock
from testbed.clock.run import RunClock
from testbed.clock.waiting import hold_until
from testbed.network.fabrics import make_fabric
from testbed.network.measure.probe import probe_links
from testbed.network.spec.fabric import Fabric, FabricName, Link, Port
from testbed.network.tcproutes import set_up
from testbed.system.journal import Journal
from testbed.system.units import NS_PER_MS
from testbed.wire import tcpinfo
from testbed.wire.connection import tune
from tests.network.relay_lab_helpers import namespaces, within

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

ONE_WAY_MS = 20.0
RATE_BPS = 1_000_000
PORT = 9100


@contextlib.contextmanager
def network(
    name: FabricName, run_id: str, journal: Journal, dilation: float
) -> Iterator[tuple[Fabric, list[Port], RunClock]]:
    """Two nodes with links of ONE_WAY_MS of virtual time, less what the bare path takes."""
    with RunClock(journal, dilation) as clock, namespaces(2) as ports:
        fabric = make_fabric(name, run_id, journal, str(clock.path), dilation)
        try:
            fabric.attach(ports)
            set_up(ports, dilation)
            fabric.shape(links())
            yield fabric, ports, clock
        finally:
            fabric.detach()


def links(**changes: object) -> list[Link]:
    return [replace(Link(a, b, ONE_WAY_MS), **changes) for a, b in (("n0", "n1"), ("n1", "n0"))]  # type: ignore[arg-type]


def connected(ports: Sequence[Port], dilation: float) -> tuple[socket.socket, socket.socket]:
    server = within(ports[1], lambda: socket.create_server((ports[1].address, PORT)))
    one = within(ports[0], lambda: socket.create_connection((ports[1].address, PORT)))
    other = server.accept()[0]
    server.close()
    for sock in (one, other):
        assert tune(sock, dilation) in (("reno",) if dilation != 1 else ("cubic", "reno"))
    return one, other


def one_way_ms(one: socket.socket, other: socket.socket, clock: Clock) -> float:
    """Of one byte, in virtual time."""
    sent_ns = clock.now_ns()
    one.sendall(b"x")
    assert other.recv(1) == b"x"
    return (clock.now_ns() - sent_ns) / NS_PER_MS


@pytest.mark.parametrize("dilation", [0.5, 4.0])
@pytest.mark.parametrize("name", ["relay", "lab"])
def test_a_probe_finds_the_links_of_virtual_time(
    name: FabricName, dilation: float, run_id: str, journal: Journal
) -> None:
    with network(name, run_id, journal, dilation) as (fabric, ports, clock):
        began = time.monotonic()
        (sample,) = probe_links(
            ports, {("n0", "n1"): 2 * ONE_WAY_MS}, 100, journal=journal, clock=str(clock.path), dilation=dilation
        )
        wall_s = time.monotonic() - began
        assert sample.received == 100
        assert sample.median_ms is not None
        assert (
            -0.1 < sample.median_ms - 2 * ONE_WAY_MS < 1.5 / dilation
        )  # two bare paths of this machine are not taken off
        assert wall_s > 2 * ONE_WAY_MS * dilation / 1e3
        assert fabric.read_back() == {("n0", "n1"): ONE_WAY_MS, ("n1", "n0"): ONE_WAY_MS}


@pytest.mark.parametrize("name", ["relay", "lab"])
def test_a_rate_is_of_virtual_time_too(name: FabricName, run_id: str, journal: Journal) -> None:
    """A burst of datagrams takes their bits' time: at dilation 4 four times as long by this machine's clock."""
    with network(name, run_id, journal, 4.0) as (fabric, ports, clock):
        fabric.change(links(rate_bps=RATE_BPS, buffer_bytes=200_000))
        receiver = within(ports[1], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        receiver.bind((ports[1].address, PORT))
        sender = within(ports[0], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        data, count = bytes(1000 - 42), 25  # with its headers a kilobyte
        for _ in range(count):
            sender.sendto(data, (ports[1].address, PORT))
        arrived_ns = []
        for _ in range(count):
            receiver.recv(2000)
            arrived_ns.append(clock.clock.now_ns())
        took_ms = (arrived_ns[-1] - arrived_ns[4]) / NS_PER_MS  # htb lets the first few go at once
        assert took_ms == pytest.approx((count - 5) * 8.0, rel=0.06)


def repaired_after_ms(dilation: float, run_id: str, journal: Journal) -> tuple[float, float]:
    """One message lost once, in a ping-pong; and its messages that were not, in the median. Virtual time."""
    with network("relay", run_id, journal, dilation) as (fabric, ports, clock):
        one, other = connected(ports, dilation)
        with one, other:
            plain = []
            for _ in range(12):
                plain += [one_way_ms(one, other, clock.clock), one_way_ms(other, one, clock.clock)]
            state = tcpinfo.of(one)
            assert state.timeout_ms >= tcpinfo.least_timeout_ms(dilation) - tcpinfo.JIFFY_MS
            assert state.sent_again == 0
            fabric.change(links(up=False))
            sent_ns = clock.clock.now_ns()
            one.sendall(b"x")
            hold_until(clock.clock, sent_ns + 40 * NS_PER_MS)  # it has met the cut, and nothing was sent again yet
            fabric.change(links())
            assert other.recv(1) == b"x"
            lost_ms = (clock.clock.now_ns() - sent_ns) / NS_PER_MS
            assert tcpinfo.of(one).sent_again == 1
    return lost_ms, statistics.median(plain)


def test_a_lost_message_is_repaired_after_the_same_time(tmp_path: Path, run_id: str, journal: Journal) -> None:
    """Untouched, TCP repairs it after half the time at dilation 4: its least timeout is wall time."""
    (undilated_ms, plain_ms), (dilated_ms, plain_dilated_ms) = (
        repaired_after_ms(n, run_id, journal) for n in (1.0, 4.0)
    )
    print(f"lost message repaired after {undilated_ms:.1f} ms, at dilation 4 after {dilated_ms:.1f} ms (virtual)")
    assert plain_ms == pytest.approx(ONE_WAY_MS, rel=0.1)
    assert plain_dilated_ms == pytest.approx(ONE_WAY_MS, rel=0.1)
    assert dilated_ms == pytest.approx(undilated_ms, rel=0.05)
