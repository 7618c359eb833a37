"""A capture holds every packet of its pair twice, once as each end sees it, and nothing of anybody else's."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.network.fabrics import make_fabric
from testbed.network.measure.capture import Capture, parse_pair
from testbed.network.spec.fabric import Fabric, Link, Port
from testbed.system.journal import Journal
from tests.network.relay_lab_helpers import namespaces, udp_socket
from tests.network.test_pcapng import blocks, options

ONE_WAY_MS = 20.0
PACKETS = 30


def packets(path: Path) -> list[tuple[int, int, bytes, int]]:
    """Interface, time in ns, bytes, direction flag."""
    found = []
    for kind, body in blocks(path.read_bytes()):
        if kind == 6:
            number, high, low, length, original = struct.unpack_from("=IIIII", body)
            assert length == original
            rest = options(body[20 + length + (-length % 4) :])
            found.append((number, high << 32 | low, body[20 : 20 + length], struct.unpack("=I", rest[2])[0]))
    return found


def shape(fabric: Fabric, ports: list[Port]) -> None:
    fabric.shape([Link(a.node, b.node, ONE_WAY_MS) for a in ports for b in ports if a != b])


@pytest.mark.shaped
@pytest.mark.parametrize(("name", "linktype", "header"), [("relay", 101, 0), ("lab", 1, 14)])
def test_both_ends_see_each_packet_and_the_way_between_takes_its_time(
    tmp_path: Path, journal: Journal, run_id: str, name: str, linktype: int, header: int
) -> None:
    with namespaces(3) as ports:
        fabric = make_fabric(name, run_id, journal)  # type: ignore[arg-type]
        try:
            fabric.attach(ports)
            shape(fabric, ports)
            receivers = [udp_socket(port, 9000) for port in ports]
            with Capture(ports, [("n0", "n1")], tmp_path, journal) as capture:
                for count in range(PACKETS):
                    receivers[0].sendto(b"to 1: %d" % count, (ports[1].address, 9000))
                    receivers[1].sendto(b"to 0: %d" % count, (ports[0].address, 9000))
                    receivers[2].sendto(b"stranger", (ports[0].address, 9000))
                for _ in range(PACKETS):
                    receivers[1].recv(100)
                for _ in range(2 * PACKETS):
                    receivers[0].recv(100)
        finally:
            fabric.detach()
    path = tmp_path / "n0-n1.pcapng"
    assert capture.facts == {path.name: {"packets": 4 * PACKETS, "dropped": 0}}
    described = [body for kind, body in blocks(path.read_bytes()) if kind == 1]
    assert [struct.unpack_from("=H", body)[0] for body in described] == [linktype, linktype]
    seen = packets(path)
    assert len(seen) == 4 * PACKETS
    assert not any(b"stranger" in data for _, _, data, _ in seen)
    leaving = {data[header:]: time for number, time, data, way in seen if number == 0 and way == 2}
    arriving = {data[header:]: time for number, time, data, way in seen if number == 1 and way == 1}
    sent = {data[28:] for data in leaving}  # behind the headers of IPv4 and UDP
    assert sent == {b"to 1: %d" % count for count in range(PACKETS)}
    took_ms = sorted((arriving[data] - leaving[data]) / 1e6 for data in leaving if data in arriving)
    assert len(took_ms) == PACKETS
    assert abs(took_ms[PACKETS // 2] - ONE_WAY_MS) < 5
    assert took_ms[0] > ONE_WAY_MS - 0.1


@pytest.mark.shaped
def test_a_node_without_an_interface_is_said_in_one_line(tmp_path: Path, journal: Journal) -> None:
    with namespaces(2) as ports, pytest.raises(MachineCannot, match="--pcap: cannot capture packets"):
        with Capture(ports, [("n0", "n1")], tmp_path, journal):
            pass


def test_a_capture_whose_process_died_does_not_pass_for_one_that_lost_nothing(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = [sys.executable, "-c", "print('capturing', flush=True); input(); 1 / 0"]
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **options: popen(dies, **options))
    ports = [Port("n0", 0, "10.77.0.1", 1), Port("n1", 1, "10.77.0.2", 1)]
    with Capture(ports, [("n0", "n1")], tmp_path, journal) as capture:
        pass
    assert capture.facts == {"n0-n1.pcapng": {"packets": None, "dropped": None}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user0", "give two nodes, such as user0:target0"),
        ("user0:user0", "give two nodes"),
        ("user0:target1", "no node 'target1'; nodes: user0, target0"),
    ],
)
def test_a_pair_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse_pair(text, ["user0", "target0"])
    assert parse_pair("user0:target0", ["user0", "target0"]) == ("user0", "target0")
