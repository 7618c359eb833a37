"""The lab while its links change all the time: nothing is lost or left behind, and what it shows is true."""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.network.lab.fabric import LabFabric
from testbed.network.lab.kernel import missing_parts
from testbed.network.netem.plan import undelayed
from testbed.network.spec.fabric import BurstLoss, Link, Port
from tests.network.relay_lab_helpers import attached_fabric, receive_numbered, send_numbered, udp_socket

pytestmark = [
    pytest.mark.shaped,
    pytest.mark.skipif(not os.environ.get("CI") and bool(missing_parts()), reason=str(missing_parts())),
]
UDP_PORT = 9021
UPDATES, PACKETS = 1000, 2500
N0_TO_N1 = ("vec1", "1:100")  # the leaf's device and parent


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabFabric, list[Port]]]:
    with attached_fabric(LabFabric, "live", 4, tmp_path_factory.mktemp("live")) as (fabric, ports):
        assert isinstance(fabric, LabFabric)
        yield fabric, ports


def netem_shown(fabric: LabFabric) -> dict[tuple[str, str], dict[str, object]]:
    """Every leaf's options, by device and parent, as tc shows them inside."""
    assert fabric._kernel is not None
    shown = json.loads(fabric._kernel.ask("tc -j qdisc show"))
    return {(one["dev"], one["parent"]): one["options"] for one in shown if one["kind"] == "netem"}


def test_a_thousand_updates_lose_no_packet_and_keep_their_order(lab: tuple[LabFabric, list[Port]]) -> None:
    """Delays that fall and rise by 40 ms, with tens of packets in flight at every change."""
    fabric, ports = lab
    levels = [[Link(a.node, b.node, ms) for a in ports for b in ports if a != b] for ms in (20.0, 60.0)]
    fabric.shape(levels[0])
    before = fabric.counters()
    with udp_socket(ports[0]) as sender, udp_socket(ports[1], UDP_PORT) as receiver:
        arguments = (sender, (ports[1].address, UDP_PORT), PACKETS, 0.001)
        sending = threading.Thread(target=send_numbered, args=arguments)
        received: list[tuple[int, float]] = []
        receiving = threading.Thread(target=lambda: received.extend(receive_numbered(receiver, sending)))
        sending.start()
        receiving.start()
        updates = 0
        while updates < UPDATES or sending.is_alive():
            updates += 1
            fabric.change(levels[updates % 2])
            time.sleep(0.001)
        receiving.join()
    assert [number for number, _ in received] == list(range(PACKETS))
    after = fabric.counters()
    assert (after.dropped, after.lost, after.cut) == (before.dropped, before.lost, before.cut)


def test_a_change_touches_no_other_pair_and_leaves_nothing_behind(lab: tuple[LabFabric, list[Port]]) -> None:
    fabric, ports = lab
    plain = [replace(link, one_way_ms=7.0) for link in undelayed(ports)]
    fabric.shape(plain)
    before = netem_shown(fabric)
    everything = Link("n0", "n1", 5.0, jitter_ms=1.0, burst_loss=BurstLoss(0.1, 0.5), reorder=0.1)
    fabric.change([everything])
    during = netem_shown(fabric)
    changed = {place for place, options in during.items() if options != before[place]}
    assert changed == {N0_TO_N1} and "loss-gemodel" in during[N0_TO_N1]
    fabric.change([plain[0]])
    assert netem_shown(fabric) == before


def test_delays_are_kept_to_the_nanosecond(lab: tuple[LabFabric, list[Port]]) -> None:
    fabric, _ = lab
    fabric.change([Link("n0", "n1", 12.345679)])
    assert fabric.read_back()["n0", "n1"] == 12.345679


def test_a_link_that_makes_no_sense_changes_nothing(lab: tuple[LabFabric, list[Port]]) -> None:
    fabric, ports = lab
    fabric.shape(undelayed(ports))
    with pytest.raises(BadInput, match="n0 -> n9"):
        fabric.change([Link("n0", "n1", 5.0), Link("n0", "n9", 5.0)])
    with pytest.raises(BadInput, match="jitter_ms is 3000"):
        fabric.change([Link("n0", "n1", 5.0), Link("n1", "n0", 4000.0, jitter_ms=3000.0)])
    assert set(fabric.read_back().values()) == {0.0}


def test_a_leaf_that_somebody_took_away_is_an_error_that_names_the_link(lab: tuple[LabFabric, list[Port]]) -> None:
    fabric, _ = lab
    assert fabric._kernel is not None
    fabric._kernel.ask("tc qdisc del dev {} parent {}".format(*N0_TO_N1))
    with pytest.raises(MachineCannot, match="link n0 -> n1: the kernel refused the change"):
        fabric.change([Link("n0", "n1", 9.0)])
