"""Effects of links in real namespaces, on the relay and in the lab: each as specified, none at another's cost.

Which packets chance takes is exact in `test_relay_impair`; here the shares show that the links have these effects at
all. Times are compared with the base path measured in the same test.
"""

import os
import signal
import socket
import statistics
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from testbed.network.netem.plan import undelayed
from testbed.network.relay.fabric import RelayFabric
from testbed.network.relay.process import QUEUE_PACKETS
from testbed.network.spec.fabric import BurstLoss, Fabric, Link, Port
from testbed.system.journal import Journal
from tests.network.relay_lab_helpers import (
    FABRICS,
    attached_fabric,
    namespaces,
    processes_of,
    receive_numbered,
    send_numbered,
    udp_socket,
    wait_for,
)

pytestmark = pytest.mark.shaped
UDP_PORT = 9011
Numbered = list[tuple[int, float]]


@pytest.fixture(scope="module", params=FABRICS)
def attached(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Fabric, list[Port]]]:
    with attached_fabric(request.param, "effects", 3, tmp_path_factory.mktemp("run")) as made:
        yield made


def first_link(ports: list[Port], **effects: object) -> Link:
    return replace(Link("n0", "n1", 20.0), **effects)  # type: ignore[arg-type]


def travel(ports: list[Port], count: int, gap_s: float = 0.002) -> Numbered:
    """Numbered packets from the first node to the second: what arrives, with its one-way delay in ms."""
    with udp_socket(ports[0]) as sender, udp_socket(ports[1], UDP_PORT) as receiver:
        sending = threading.Thread(target=send_numbered, args=(sender, (ports[1].address, UDP_PORT), count, gap_s))
        sending.start()
        received = receive_numbered(receiver, sending)
        sending.join()
    return received


def shape_first(fabric: Fabric, ports: list[Port], **effects: object) -> None:
    others = [link for link in undelayed(ports) if (link.src, link.dst) != ("n0", "n1")]
    fabric.shape([first_link(ports, **effects), *others])


def test_jitter_spreads_delays_evenly_over_its_width(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    shape_first(fabric, ports)
    base_ms = statistics.median(delay for _, delay in travel(ports, 100)) - 20
    shape_first(fabric, ports, jitter_ms=10.0)
    delays = sorted(delay - base_ms for _, delay in travel(ports, 500))
    assert len(delays) == 500
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        error_ms = 4 * 20 * (share * (1 - share) / 500) ** 0.5
        assert delays[int(share * 500)] == pytest.approx(10 + 20 * share, abs=error_ms + 0.5)


def test_with_jitter_packets_overtake_and_without_it_never(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    shape_first(fabric, ports, jitter_ms=10.0)
    numbers = [number for number, _ in travel(ports, 200)]
    assert numbers != sorted(numbers)
    shape_first(fabric, ports)
    numbers = [number for number, _ in travel(ports, 200)]
    assert numbers == list(range(200))


def test_burst_loss_takes_its_share_in_bursts_and_counts_it_as_lost(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    count, p, r = 2000, 0.05, 0.25
    shape_first(fabric, ports, burst_loss=BurstLoss(p, r))
    before = fabric.counters()
    arrived = [number for number, _ in travel(ports, count, gap_s=0.0005)]
    after = fabric.counters()
    missing = sorted(set(range(count)) - set(arrived))
    assert (after.lost - before.lost, after.dropped - before.dropped) == (len(missing), 0)
    assert after.matched["n0", "n1"] - before.matched["n0", "n1"] == len(arrived)
    share = p / (p + r)
    error = 4 * (share * (1 - share) / count * (2 - p - r) / (p + r)) ** 0.5
    assert len(missing) / count == pytest.approx(share, abs=error)
    starts = [number for number in missing if number - 1 not in missing]
    assert len(missing) / len(starts) == pytest.approx(1 / r, abs=4 * ((1 - r) / r**2 / len(starts)) ** 0.5)


def test_a_reordered_packet_is_sent_without_the_delay(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    shape_first(fabric, ports, reorder=0.3)
    received = travel(ports, 400)
    at_once = [number for number, delay in received if delay < 10]
    assert len(received) == 400
    assert len(at_once) / 400 == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 400) ** 0.5)
    assert statistics.median(delay for number, delay in received if number not in at_once) == pytest.approx(20, abs=1.5)


def test_a_cut_link_delivers_nothing_counts_it_and_comes_back(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    shape_first(fabric, ports)
    before = fabric.counters()
    fabric.change([first_link(ports, up=False)])
    with udp_socket(ports[0]) as sender:
        for _ in range(20):
            sender.sendto(b"cut", (ports[1].address, UDP_PORT))
        wait_for(lambda: fabric.counters().cut - before.cut == 20)
    after = fabric.counters()
    assert (after.lost, after.dropped, after.unmatched) == (before.lost, before.dropped, before.unmatched)
    assert after.matched["n0", "n1"] == before.matched["n0", "n1"]
    fabric.change([first_link(ports)])
    assert [number for number, _ in travel(ports, 20)] == list(range(20))


def test_change_touches_the_links_it_names_and_no_others(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    fabric.shape([Link(link.src, link.dst, 10.0 + index) for index, link in enumerate(undelayed(ports))])
    before = fabric.read_back()
    fabric.change([Link("n2", "n0", 33.0), Link("n0", "n1", 44.0)])
    expected = {**before, ("n2", "n0"): 33.0, ("n0", "n1"): 44.0}
    assert fabric.read_back() == {pair: pytest.approx(ms, abs=0.002) for pair, ms in expected.items()}


def test_a_thousand_live_updates_lose_no_packet_and_let_none_overtake(attached: tuple[Fabric, list[Port]]) -> None:
    """Full updates with rising and falling delays, while packets are in flight all the time."""
    fabric, ports = attached
    levels = [[replace(link, one_way_ms=ms) for link in undelayed(ports)] for ms in (40, 10, 25)]
    fabric.shape(levels[0])
    before = fabric.counters()
    received: Numbered = []
    flow = threading.Thread(target=lambda: received.extend(travel(ports, 3000, gap_s=0.001)))
    flow.start()
    for step in range(1000):
        fabric.change(levels[step % 3])
    flow.join()
    after = fabric.counters()
    assert [number for number, _ in received] == list(range(3000))
    assert (after.dropped, after.lost, after.cut) == (before.dropped, before.lost, before.cut)


def test_one_run_id_takes_the_same_packets_from_the_relay(journal: Journal) -> None:
    def taken(run_id: str) -> set[int]:
        with namespaces(2) as ports:
            fabric = RelayFabric(run_id, journal)
            fabric.attach(ports)
            try:
                fabric.shape([replace(link, burst_loss=BurstLoss(0.1, 0.4)) for link in undelayed(ports)])
                return set(range(300)) - {number for number, _ in travel(ports, 300, gap_s=0.0005)}
            finally:
                fabric.detach()

    first = taken("one")
    assert first == taken("one")
    assert first != taken("other")


def test_what_the_relay_s_own_device_drops_is_counted_as_dropped(journal: Journal) -> None:
    """A relay that stands still for a while: what its device cannot hold until then must not vanish in silence."""
    count = QUEUE_PACKETS + 500
    with namespaces(2) as ports:
        fabric = RelayFabric("stands-still", journal)
        fabric.attach(ports)
        try:
            (process,) = processes_of(journal)
            os.kill(process, signal.SIGSTOP)
            with udp_socket(ports[0]) as sender, udp_socket(ports[1], UDP_PORT):
                for _ in range(count):
                    sender.sendto(b"x", (ports[1].address, UDP_PORT))
                os.kill(process, signal.SIGCONT)
                wait_for(lambda: fabric.counters().matched["n0", "n1"] + fabric.counters().dropped == count)
            assert fabric.counters().dropped == 500
        finally:
            fabric.detach()


def test_a_shallow_buffer_of_the_rate_drops_and_a_deep_one_keeps(attached: tuple[Fabric, list[Port]]) -> None:
    fabric, ports = attached
    burst, frame_bytes = 30, 1000
    arrived = {}
    for buffer_bytes in (10 * frame_bytes, 100 * frame_bytes):
        shape_first(fabric, ports, rate_bps=8_000_000, buffer_bytes=buffer_bytes)
        before = fabric.counters().dropped
        with udp_socket(ports[0]) as sender, udp_socket(ports[1], UDP_PORT) as receiver:
            for _ in range(burst):
                sender.sendto(bytes(frame_bytes - 42), (ports[1].address, UDP_PORT))
            arrived[buffer_bytes] = count_datagrams(receiver)
        assert fabric.counters().dropped - before == burst - arrived[buffer_bytes]
    shallow, deep = arrived.values()
    assert deep == burst
    assert 10 <= shallow <= 15  # what the buffer holds, and what left while the burst was being sent


def count_datagrams(receiver: socket.socket) -> int:
    receiver.settimeout(0.5)
    count = 0
    while True:
        try:
            receiver.recv(2048)
        except TimeoutError:
            return count
        count += 1
