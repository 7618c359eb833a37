"""The relay and the lab in real namespaces: links are as specified, change loses nothing, nothing is left behind.

Every test makes its own namespaces and sends traffic only there. Times are compared with the base path measured in the
same test, by medians.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.errors import MachineCannot
from testbed.network.lab.fabric import LabFabric
from testbed.network.netem.plan import undelayed
from testbed.network.relay.fabric import RelayFabric
from testbed.network.spec.fabric import Fabric, Link, Port
from testbed.system.journal import Journal
from tests.network.relay_lab_helpers import (
    ECHO_PORT,
    FABRICS,
    attached_fabric,
    echo_servers,
    host_interfaces,
    interfaces,
    median_errors_ms,
    namespaces,
    processes_of,
    random_links,
    receive_numbered,
    round_trips_ms,
    send_numbered,
    tcp_listener,
    udp_socket,
    wait_for,
    within,
)

pytestmark = pytest.mark.shaped
Maker = Callable[[str, Journal], Fabric]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "run" / "journal.jsonl")
    yield made
    made.undo(remove_named)
    made.close()


@pytest.fixture(scope="module", params=FABRICS)
def attached(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Fabric, list[Port]]]:
    """Shared by the tests that leave it attached."""
    with attached_fabric(request.param, "shared", 4, tmp_path_factory.mktemp("run")) as made:
        yield made


@pytest.mark.alone
def test_every_pair_has_the_round_trip_its_links_add_up_to(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    fabric.shape(undelayed(ports))
    errors = median_errors_ms(fabric, ports, random_links(ports, seed=11), probes=31)
    assert len(errors) == 12
    wrong = {pair: error for pair, (error, rtt_ms) in errors.items() if abs(error) > max(0.3, 0.01 * rtt_ms)}
    assert not wrong


@pytest.mark.alone
def test_delay_is_one_way(attached: tuple[Fabric, list[Port]]) -> None:
    """All of a round trip's delay on one direction: the namespaces share one clock, so each direction shows alone."""
    fabric, ports = attached
    one, other = ports[0], ports[1]
    fabric.shape([replace(link, one_way_ms=40) if link.src == "n0" else link for link in undelayed(ports)])
    assert one_way_ms(one, other) - one_way_ms(other, one) == pytest.approx(40, abs=1)


def one_way_ms(src: Port, dst: Port, probes: int = 15) -> float:
    sender, receiver = udp_socket(src), udp_socket(dst, 9000)
    with sender, receiver:
        samples = []
        for _ in range(probes):
            sent = time.monotonic()
            sender.sendto(b"probe", (dst.address, 9000))
            receiver.recv(64)
            samples.append((time.monotonic() - sent) * 1e3)
    return sorted(samples)[probes // 2]


def test_mechanism_reports_the_delays_it_was_given(attached: tuple[Fabric, list[Port]]) -> None:
    """To the microsecond, and netem's tick of 64 ns."""
    fabric, ports = attached
    links = random_links(ports, seed=12)
    fabric.shape(links)
    assert fabric.read_back() == {(link.src, link.dst): pytest.approx(link.one_way_ms, abs=0.002) for link in links}


def test_change_keeps_every_packet_in_flight(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    src, dst = ports[0], ports[1]
    levels = [[Link(a.node, b.node, ms) for a in ports for b in ports if a != b] for ms in (60, 20)]
    fabric.shape(levels[0])
    before = fabric.counters()
    sender, receiver = udp_socket(src), udp_socket(dst, 9001)
    sending = threading.Thread(target=send_numbered, args=(sender, (dst.address, 9001), 400))
    sending.start()
    for step in range(40):
        fabric.shape(levels[step % 2])
        time.sleep(0.02)
    sending.join()
    received = [number for number, _ in receive_numbered(receiver, sending)]
    sender.close()
    receiver.close()
    assert sorted(received) == list(range(400))
    assert fabric.counters().matched["n0", "n1"] - before.matched["n0", "n1"] == 400
    if fabric.name == "relay":  # netem without a rate lets packets overtake when the delay falls
        assert received == sorted(received)


def test_packets_without_a_link_are_dropped_and_counted(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    before = fabric.counters().unmatched
    with udp_socket(ports[0]) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(5):
            sender.sendto(b"to nobody", ("10.99.0.1", 9))
        wait_for(lambda: fabric.counters().unmatched > before)
    with echo_servers(ports):  # and the links of the others carry on
        assert all(len(samples) == 3 for samples in round_trips_ms(ports, 3).values())


def test_traffic_between_nodes_leaves_nothing_unmatched(attached: tuple[Fabric, list[Port]]) -> None:
    """No ARP, no IPv6, no multicast: what the nodes send each other is all that travels (invariant 6)."""
    fabric, ports = attached
    fabric.shape(undelayed(ports))
    before = fabric.counters()
    with echo_servers(ports):
        round_trips_ms(ports, 5)
    after = fabric.counters()
    assert after.unmatched == before.unmatched
    assert {pair: after.matched[pair] - before.matched[pair] for pair in after.matched} == dict.fromkeys(
        after.matched, 10
    )


def test_what_a_link_is_told_to_lose_is_counted_as_lost(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    fabric.shape([replace(link, loss=1.0) if link.src == "n2" else link for link in undelayed(ports)])
    before = fabric.counters()
    with udp_socket(ports[2]) as sender:
        for _ in range(20):
            sender.sendto(b"lost", (ports[3].address, ECHO_PORT))
        wait_for(lambda: fabric.counters().lost - before.lost == 20)
    after = fabric.counters()
    assert (after.matched["n2", "n3"], after.dropped) == (before.matched["n2", "n3"], before.dropped)


def test_rate_limits_one_link_and_can_be_lifted(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    limited = {(link.src, link.dst): link for link in undelayed(ports)}
    limited["n0", "n1"] = replace(limited["n0", "n1"], rate_bps=8_000_000)
    fabric.shape(list(limited.values()))
    packets, size_bytes = 40, 1000 - 28 - 14  # UDP payload of a frame of 1000 bytes, which takes 1 ms
    span = typical_burst_ms(ports[0], ports[1], packets, size_bytes)
    assert span == pytest.approx(packets - 1, rel=0.15)
    assert typical_burst_ms(ports[0], ports[2], packets, size_bytes) < span / 2
    fabric.shape(undelayed(ports))
    assert typical_burst_ms(ports[0], ports[1], packets, size_bytes) < span / 2


def typical_burst_ms(src: Port, dst: Port, packets: int, size_bytes: int) -> float:
    """The median of five bursts: a machine that pauses once moves no median."""
    return statistics.median(burst_ms(src, dst, packets, size_bytes) for _ in range(5))


def burst_ms(src: Port, dst: Port, packets: int, size_bytes: int) -> float:
    """Time from the first to the last arrival of packets sent at once."""
    with udp_socket(src) as sender, udp_socket(dst, 9002) as receiver:
        for _ in range(packets):
            sender.sendto(bytes(size_bytes), (dst.address, 9002))
        arrivals = []
        for _ in range(packets):
            receiver.recv(2048)
            arrivals.append(time.monotonic())
    return (arrivals[-1] - arrivals[0]) * 1e3


def test_tcp_stream_arrives_whole(attached: tuple[Fabric, list[Port]]) -> None:
    """Checksums and segment sizes are real: nothing was left to an offload that no device carries out."""
    fabric, ports = attached
    fabric.shape([replace(link, one_way_ms=5) for link in undelayed(ports)])
    sent = os.urandom(3_000_000)
    with tcp_listener(ports[1], 9003) as listener, within(ports[0], socket.socket) as client:
        client.settimeout(10)
        client.connect((ports[1].address, 9003))
        server, _ = listener.accept()
        sending = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
        sending.start()
        with server, server.makefile("rb") as stream:
            received = stream.read()
        sending.join()
    assert received == sent


def test_relay_carries_on_when_one_node_loses_its_interface(journal: Journal) -> None:
    with namespaces(3) as ports:
        fabric = RelayFabric("loses", journal)
        fabric.attach(ports)
        subprocess.run(["nsenter", f"--net=/proc/{ports[2].pid}/ns/net", "ip", "link", "delete", "eth0"], check=True)
        with udp_socket(ports[0]) as sender:
            sender.sendto(b"into the void", (ports[2].address, ECHO_PORT))
        with echo_servers(ports[:2]):
            assert all(len(samples) == 5 for samples in round_trips_ms(ports[:2], 5).values())
        assert fabric.counters().dropped == 1
        fabric.detach()


@pytest.mark.parametrize("make", FABRICS)
def test_detach_leaves_nothing(make: Maker, journal: Journal) -> None:
    host = host_interfaces()
    with namespaces(2) as ports:
        fabric = make("gone", journal)
        fabric.attach(ports)
        assert interfaces(ports[0]) == ["eth0"]
        assert host_interfaces() == host
        fabric.detach()
        fabric.detach()
        assert [interfaces(port) for port in ports] == [[], []]
    assert processes_of(journal) == []
    assert host_interfaces() == host
    assert not any(Path(entry.name).exists() for entry in journal.entries() if entry.kind == "directory")


@pytest.mark.parametrize("make", FABRICS)
def test_fabric_dies_with_its_killed_parent(make: Maker, journal: Journal) -> None:
    with namespaces(2) as ports:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, make.__module__, make.__name__, str(journal.path)]
            + [str(port.pid) for port in ports],
            stdout=subprocess.PIPE,
        )
        assert parent.stdout and parent.stdout.readline() == b"attached\n"
        assert processes_of(journal)
        assert interfaces(ports[0]) == ["eth0"]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_for(lambda: processes_of(journal) == [])
        wait_for(lambda: [interfaces(port) for port in ports] == [[], []])
    journal.undo(remove_named)
    assert not any(Path(entry.name).exists() for entry in journal.entries() if entry.kind == "directory")


@pytest.mark.parametrize("make", FABRICS)
def test_undoing_the_journal_removes_a_fabric_that_still_runs(make: Maker, journal: Journal) -> None:
    with namespaces(2) as ports:
        fabric = make("undone", journal)
        fabric.attach(ports)
        journal.undo(remove_named)
        wait_for(lambda: processes_of(journal) == [])
        fabric.detach()
        assert [interfaces(port) for port in ports] == [[], []]


PARENT = """
import importlib, pathlib, sys, time
from testbed.network.spec.fabric import Port
from testbed.system.journal import Journal
module, name, journal, *pids = sys.argv[1:]
fabric = getattr(importlib.import_module(module), name)("killed", Journal(pathlib.Path(journal), holder=False))
fabric.attach([Port(f"n{i}", i, f"10.77.0.{i + 1}", int(pid)) for i, pid in enumerate(pids)])
print("attached", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("make", FABRICS)
def test_node_that_has_a_network_already_is_refused_in_one_line(make: Maker, journal: Journal) -> None:
    with namespaces(2) as ports:
        first = RelayFabric("first", journal)
        first.attach(ports[1:])
        try:
            with pytest.raises(MachineCannot, match="without a network") as refusal:
                make("second", journal).attach(ports)
        finally:
            first.detach()
        assert "\n" not in str(refusal.value)
        assert interfaces(ports[0]) == []


def test_lab_that_does_not_boot_says_why(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.network.lab.kernel.MEMORY", "1M")
    with namespaces(2) as ports:
        with pytest.raises(MachineCannot, match=r"did not boot: .+") as refusal:
            LabFabric("no-boot", journal).attach(ports)
        assert "\n" not in str(refusal.value)
        assert [interfaces(port) for port in ports] == [[], []]
    assert processes_of(journal) == []
