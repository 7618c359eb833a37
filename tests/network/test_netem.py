"""The router's real htb and u32 tree, with a pfifo in the place of netem so that any kernel can run these tests."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from testbed.errors import MachineCannot
from testbed.network.capabilities import probe_capabilities
from testbed.network.hosts import MininetHosts, enter
from testbed.network.netem.fabric import NetemFabric
from testbed.network.netem.plan import undelayed
from testbed.network.spec.fabric import Link, Port
from testbed.system.journal import Journal

pytestmark = pytest.mark.shaped


def in_node(port: Port, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(enter(port.pid, argv), capture_output=True, text=True)


def ping(src: Port, dst: Port, count: int = 3) -> bool:
    return in_node(src, "ping", "-c", str(count), "-i", "0.01", "-W", "1", dst.address).returncode == 0


def links_in(pid: int | None = None) -> set[str]:
    argv = ["ip", "-j", "link", "show"]
    shown = subprocess.run(argv if pid is None else enter(pid, argv), capture_output=True, check=True).stdout
    return {link["ifname"] for link in json.loads(shown)}


@pytest.fixture
def ports(hosts: MininetHosts) -> list[Port]:
    return [Port(name, index, f"10.77.0.{index + 1}", hosts.add(name)) for index, name in enumerate("abc")]


@pytest.fixture
def fabric(run_id: str, journal: Journal, ports: list[Port]) -> Iterator[NetemFabric]:
    fabric = NetemFabric(run_id, journal, leaf="pfifo")
    fabric.attach(ports)
    yield fabric
    fabric.detach()


def test_packets_of_a_pair_go_through_its_own_class_and_no_other(fabric: NetemFabric, ports: list[Port]) -> None:
    assert ping(ports[0], ports[1])
    counters = fabric.counters()
    used = {pair: packets for pair, packets in counters.matched.items() if packets}
    assert used == {("a", "b"): 3, ("b", "a"): 3}
    assert (counters.unmatched, counters.dropped) == (0, 0)


def test_all_pairs_connect_and_nothing_but_the_pings_crossed(fabric: NetemFabric, ports: list[Port]) -> None:
    assert all(ping(src, dst, 1) for src in ports for dst in ports if src != dst)
    counters = fabric.counters()
    assert set(counters.matched.values()) == {2}  # over each directed link its own request and the other's reply
    assert counters.unmatched == 0


def test_a_packet_that_no_link_claims_is_counted_and_does_not_arrive(fabric: NetemFabric, ports: list[Port]) -> None:
    a, b, _ = ports
    assert in_node(a, "ip", "addr", "add", "10.99.0.1/32", "dev", "lo").returncode == 0
    assert in_node(a, "ping", "-c", "2", "-i", "0.01", "-W", "0.2", "-I", "10.99.0.1", b.address).returncode != 0
    assert fabric.counters().unmatched == 2


def test_shaping_a_tree_without_netem_is_refused_and_not_faked(fabric: NetemFabric, ports: list[Port]) -> None:
    links = [Link(src.node, dst.node, 5.0) for src in ports for dst in ports if src != dst]
    with pytest.raises(MachineCannot, match="netem"):
        fabric.shape(links)
    assert set(fabric.read_back().values()) == {0.0}


def test_a_change_keeps_handles_and_counters(fabric: NetemFabric, ports: list[Port]) -> None:
    ping(ports[0], ports[1])
    fabric.shape(undelayed(ports))
    assert fabric.counters().matched["a", "b"] == 3


def test_a_rate_is_enforced_at_the_sender_and_can_be_lifted(fabric: NetemFabric, ports: list[Port]) -> None:
    links = [Link(src.node, dst.node, 0.0, rate_bps=1_000_000 if src.node == "a" else None)
             for src in ports for dst in ports if src != dst]  # fmt: skip
    fabric.shape(links)
    shown = in_node(ports[0], "tc", "class", "show", "dev", "eth0").stdout
    assert shown.count("rate 1Mbit") == 2
    assert "htb" not in in_node(ports[1], "tc", "qdisc", "show", "dev", "eth0").stdout
    assert ping(ports[0], ports[1])
    fabric.shape(undelayed(ports))
    assert "rate 1Mbit" not in in_node(ports[0], "tc", "class", "show", "dev", "eth0").stdout
    assert fabric.counters().unmatched == 0


def test_detach_leaves_nothing_in_the_nodes_or_on_the_machine(run_id: str, journal: Journal, ports: list[Port]) -> None:
    before = links_in()
    fabric = NetemFabric(run_id, journal, leaf="pfifo")
    fabric.attach(ports)
    assert links_in() == before  # interfaces are made inside the namespaces
    fabric.detach()
    fabric.detach()
    assert links_in() == before
    assert all(links_in(port.pid) == {"lo"} for port in ports)


def test_a_kernel_without_netem_is_said_before_anything_is_made(
    run_id: str, journal: Journal, ports: list[Port]
) -> None:
    if probe_capabilities().qdiscs["netem"]:
        pytest.skip("this kernel has netem")
    with pytest.raises(MachineCannot, match="fabric netem: this machine lacks kernel netem"):
        NetemFabric(run_id, journal).attach(ports)
    assert all(links_in(port.pid) == {"lo"} for port in ports)
