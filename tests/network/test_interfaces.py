"""What pyroute2 encodes arrives in the right namespace; a refusal is one line with node, interface and fix."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import MachineCannot
from testbed.network.hosts import MininetHosts, enter
from testbed.network.interfaces import Requests
from testbed.system.netns import Interface, in_node

pytestmark = pytest.mark.shaped


def shown(pid: int, *what: str) -> list[dict[str, Any]]:
    done = subprocess.run(enter(pid, ["ip", "-j", *what]), capture_output=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def joined(hosts: MininetHosts) -> tuple[int, int]:
    """Two nodes, and a cable from `r0` at the first to `eth0` at the second."""
    here, there = hosts.add("a"), hosts.add("b")

    def cable() -> None:
        wanted = Requests("node a")
        wanted.add_veth("r0", "02:77:00:00:00:01", "eth0", None, there)
        wanted.send()

    in_node("node a", here, cable)
    return here, there


def test_a_cable_has_its_ends_where_they_belong(joined: tuple[int, int]) -> None:
    here, there = joined
    assert {one["ifname"]: one["address"] for one in shown(here, "link")}["r0"] == "02:77:00:00:00:01"
    assert {one["ifname"] for one in shown(there, "link")} == {"lo", "eth0"}


def test_address_neighbour_and_routes_are_as_asked(joined: tuple[int, int]) -> None:
    _, there = joined

    def set_up() -> None:
        wanted = Requests("node b")
        wanted.add_address("eth0", "10.77.0.2")
        wanted.bring_up("eth0")
        wanted.set_neighbour("eth0", "169.254.1.1", "02:77:00:00:00:01")
        wanted.add_host_route("eth0", "10.77.0.9")
        wanted.add_default_route("eth0", "169.254.1.1")
        wanted.send()

    in_node("node b", there, set_up)
    (end,) = [one for one in shown(there, "addr") if one["ifname"] == "eth0"]
    assert "UP" in end["flags"]
    assert [(one["local"], one["prefixlen"]) for one in end["addr_info"] if one["family"] == "inet"] == [
        ("10.77.0.2", 32)
    ]
    assert [(one["dst"], one["lladdr"], one["state"]) for one in shown(there, "neigh")] == [
        ("169.254.1.1", "02:77:00:00:00:01", ["PERMANENT"])
    ]
    routes = {one["dst"]: one for one in shown(there, "-4", "route")}
    assert set(routes) == {"10.77.0.9", "default"}
    assert routes["default"]["gateway"] == "169.254.1.1"
    assert "onlink" in routes["default"]["flags"]


def test_a_refusal_names_node_interface_and_fix(joined: tuple[int, int]) -> None:
    here, there = joined

    def again() -> None:
        wanted = Requests("fabric netem: node b")
        wanted.add_veth("r1", None, "eth0", None, there)
        wanted.send()

    with pytest.raises(
        MachineCannot, match=r"^fabric netem: node b: interface r1: .*exists.*; start the node without a"
    ):
        in_node("node a", here, again)

    def nowhere() -> None:
        Requests("node a").add_address("eth7", "10.77.0.1")

    with pytest.raises(MachineCannot, match=r"^node a: interface eth7: .*no such interface.*; leave"):
        in_node("node a", here, nowhere)


def test_a_node_that_has_ended_is_named(hosts: MininetHosts) -> None:
    program = hosts.popen_at(hosts.add("a"), ["true"])
    program.wait()
    with pytest.raises(MachineCannot, match=f"^node a: process {program.pid} has ended"):
        in_node("node a", program.pid, lambda: None)


def test_what_the_kernel_refuses_an_ioctl_names_the_node(hosts: MininetHosts) -> None:
    def nowhere() -> None:
        with Interface("eth7") as end:
            end.refuse_segmentation()

    with pytest.raises(
        MachineCannot, match=r"^node a: the kernel refused to set up its network \(.*; see testbed doctor"
    ):
        in_node("node a", hosts.add("a"), nowhere)


def test_a_batch_leaves_no_descriptor_open(joined: tuple[int, int]) -> None:
    here, _ = joined

    def once() -> None:
        wanted = Requests("node a")
        wanted.bring_up("r0")
        wanted.send()

    in_node("node a", here, once)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        in_node("node a", here, once)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
