"""Connections of nodes without rights use cubic also where the machine's default is another one."""

from __future__ import annotations

import subprocess

import pytest

from testbed.network import congestion
from testbed.network.congestion import pin_routes, to_be_pinned
from testbed.network.hosts import MininetHosts, enter
from testbed.system.netns import in_node


@pytest.mark.parametrize(
    ("available", "allowed", "pinned"),
    [
        ("reno cubic", "reno cubic", None),
        ("reno bbr cubic", "reno bbr", "cubic"),
        ("reno bbr", "reno bbr", None),
        ("bbr", "bbr", None),
    ],
)
def test_routes_name_it_only_where_sockets_may_not_choose_it(available, allowed, pinned):
    assert to_be_pinned(available, allowed) == pinned


SET_UP = """\
link add v0 type veth peer name v1
link set v0 up
link set v1 up
addr add 10.9.9.1/32 dev v0
route add default dev v0
route add 10.8.0.0/16 via 10.8.0.1 dev v0 onlink mtu 1400"""


@pytest.mark.shaped
def test_every_route_of_a_node_gets_it_and_stays_what_it_was(hosts: MininetHosts) -> None:
    if "cubic" not in (congestion.SETTINGS / "tcp_available_congestion_control").read_text():
        pytest.skip("this kernel has no cubic")
    node = hosts.add("a")

    def routes() -> list[str]:
        return subprocess.run(
            enter(node, ["ip", "-4", "route", "show"]), capture_output=True, text=True
        ).stdout.splitlines()

    for line in SET_UP.splitlines():
        subprocess.run(enter(node, ["ip", *line.split()]), check=True)
    before = routes()
    assert in_node("node a", node, lambda: pin_routes("cubic")) is None
    after = routes()
    assert len(before) == 2
    assert sorted(line.replace("congctl cubic", "").split() for line in after) == sorted(
        line.split() for line in before
    )
    assert all("congctl cubic" in line for line in after)
    assert in_node("node a", node, lambda: pin_routes("no-such")) is not None
