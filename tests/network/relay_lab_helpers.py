"""What the tests of the relay and lab fabrics share: private namespaces, a UDP echo between them, and what is left.

Namespaces are held by sleeping processes of the test's own; sockets are opened inside them by a thread that enters.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.network.lab.fabric import LabFabric
from testbed.network.lab.kernel import missing_parts
from testbed.network.relay.fabric import RelayFabric
from testbed.network.relay.process import TUN_PATH
from testbed.network.spec.fabric import Fabric, Link, Port
from testbed.system.journal import Journal
from testbed.system.netns import in_namespace, namespace_of

ECHO_PORT = 7007
MAY_SKIP = not os.environ.get("CI")  # CI runs both fabrics or fails

FABRICS = [
    pytest.param(
        RelayFabric,
        id="relay",
        marks=pytest.mark.skipif(MAY_SKIP and not Path(TUN_PATH).exists(), reason=f"{TUN_PATH} is missing"),
    ),
    pytest.param(
        LabFabric, id="lab", marks=pytest.mark.skipif(MAY_SKIP and bool(missing_parts()), reason=str(missing_parts()))
    ),
]


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[Port]]:
    """Ports n0, n1, ... each in a fresh network namespace; the namespaces end with the block."""
    holders = [subprocess.Popen(["unshare", "--net", "sleep", "600"]) for _ in range(count)]
    try:
        own = Path("/proc/self/ns/net").readlink()
        for holder in holders:
            while Path(f"/proc/{holder.pid}/ns/net").readlink() == own:
                time.sleep(0.001)
        yield [Port(f"n{index}", index, f"10.77.0.{index + 1}", h.pid) for index, h in enumerate(holders)]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


@contextlib.contextmanager
def attached_fabric(
    make: Callable[[str, Journal], Fabric], run_id: str, nodes: int, folder: Path
) -> Iterator[tuple[Fabric, list[Port]]]:
    """A fabric with so many nodes, for all tests of a module: each shapes it anew."""
    journal = Journal(folder / "journal.jsonl")
    try:
        with namespaces(nodes) as ports:
            fabric = make(run_id, journal)
            fabric.attach(ports)
            try:
                yield fabric, ports
            finally:
                fabric.detach()
    finally:
        journal.undo(remove_named)
        journal.close()


def within(port: Port, act: Callable[[], socket.socket]) -> socket.socket:
    namespace = namespace_of(port.pid)
    try:
        return in_namespace(namespace, act)
    finally:
        os.close(namespace)


def udp_socket(port: Port, bind: int = 0) -> socket.socket:
    """A UDP socket that lives in the port's namespace; usable from any thread."""

    def create() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        made.bind(("", bind))
        made.settimeout(5)
        return made

    return within(port, create)


def tcp_listener(port: Port, bind: int) -> socket.socket:
    return within(port, lambda: socket.create_server(("", bind)))


def interfaces(port: Port) -> list[str]:
    """Interfaces in the port's namespace except the loopback."""
    return [line.split(":")[0].strip() for line in _device_table(port) if not line.strip().startswith("lo:")]


def _device_table(port: Port) -> list[str]:
    return Path(f"/proc/{port.pid}/net/dev").read_text().splitlines()[2:]


def send_numbered(sender: socket.socket, address: tuple[str, int], count: int, gap_s: float = 0.002) -> None:
    """Each packet is its number and the time it was sent."""
    for number in range(count):
        sender.sendto(struct.pack("!Iq", number, time.monotonic_ns()), address)
        time.sleep(gap_s)


def receive_numbered(
    receiver: socket.socket, sending: threading.Thread, silence_s: float = 0.5
) -> list[tuple[int, float]]:
    """Number and one-way delay in ms of every packet, in order of arrival, until none is sent or comes any more."""
    receiver.settimeout(silence_s)
    received = []
    while True:
        try:
            was_sending = sending.is_alive()
            number, sent_ns = struct.unpack("!Iq", receiver.recv(64))
        except TimeoutError:
            if was_sending:
                continue
            return received
        received.append((number, (time.monotonic_ns() - sent_ns) / 1e6))


@contextlib.contextmanager
def echo_servers(ports: Sequence[Port]) -> Iterator[None]:
    """A UDP echo on every port's namespace."""
    sockets = [udp_socket(port, ECHO_PORT) for port in ports]
    stopping = threading.Event()

    def serve(listening: socket.socket) -> None:
        while not stopping.is_set():
            try:
                data, sender = listening.recvfrom(2048)
            except TimeoutError:
                continue
            listening.sendto(data, sender)

    threads = [threading.Thread(target=serve, args=(s,), daemon=True) for s in sockets]
    for s, thread in zip(sockets, threads, strict=True):
        s.settimeout(0.1)
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        for s in sockets:
            s.close()


def round_trips_ms(ports: Sequence[Port], probes: int, gap_s: float = 0.003) -> dict[tuple[str, str], list[float]]:
    """RTT samples of every directed link (the first one asks), many in flight at once; echo_servers must run.

    Kernel receive timestamps would be finer; one reader thread per node is what an application sees.
    """
    results: dict[tuple[str, str], list[float]] = {(a.node, b.node): [] for a in ports for b in ports if a != b}
    names = {port.address: port.node for port in ports}
    sockets = {port.node: udp_socket(port) for port in ports}
    expected = probes * (len(ports) - 1)

    def read(node: str) -> None:
        for _ in range(expected):
            try:
                data, (address, _) = sockets[node].recvfrom(64)
            except TimeoutError:
                return
            sent_ns = struct.unpack("q", data)[0]
            results[node, names[address]].append((time.monotonic_ns() - sent_ns) / 1e6)

    readers = [threading.Thread(target=read, args=(port.node,)) for port in ports]
    for reader in readers:
        reader.start()
    pairs = [(a, b) for a in ports for b in ports if a != b]
    for _ in range(probes):
        random.Random(1).shuffle(pairs)
        for a, b in pairs:
            sockets[a.node].sendto(struct.pack("q", time.monotonic_ns()), (b.address, ECHO_PORT))
            time.sleep(gap_s)
    for reader in readers:
        reader.join()
    for s in sockets.values():
        s.close()
    return results


def random_links(ports: Sequence[Port], seed: int, low_ms: float = 5, high_ms: float = 60) -> list[Link]:
    """An asymmetric matrix: every directed link draws its own one-way delay."""
    draw = random.Random(seed)
    return [Link(a.node, b.node, round(draw.uniform(low_ms, high_ms), 3)) for a in ports for b in ports if a != b]


def median_errors_ms(
    fabric: Fabric, ports: Sequence[Port], links: Sequence[Link], probes: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """Per directed link: error of the median RTT against the links, base path subtracted, and the configured RTT."""
    with echo_servers(ports):
        base = round_trips_ms(ports, probes)
        fabric.shape(links)
        shaped = round_trips_ms(ports, probes)
    one_way = {(link.src, link.dst): link.one_way_ms for link in links}
    errors = {}
    for pair, samples in shaped.items():
        assert len(samples) == probes, f"{pair}: {len(samples)} of {probes} probes came back"
        configured = one_way[pair] + one_way[pair[1], pair[0]]
        errors[pair] = (statistics.median(samples) - statistics.median(base[pair]) - configured, configured)
    return errors


def host_interfaces() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


def processes_of(journal: Journal) -> list[int]:
    """Live members of the process groups the journal names."""
    groups = {entry.name for entry in journal.entries() if entry.kind == "group"}
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[2] in groups and fields[0] not in "ZX":
            members.append(int(path.parent.name))
    return members


def wait_for(condition: Callable[[], bool], limit_s: float = 5) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)
