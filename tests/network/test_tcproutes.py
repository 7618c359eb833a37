"""What routes tell TCP: its least timeout at any dilation, and cubic where the machine has another default."""

from __future__ import annotations

import socket
import struct
import subprocess

import pytest

from testbed.network import tcproutes
from testbed.network.hosts import MininetHosts, enter
from testbed.network.spec.fabric import Port
from testbed.network.tcproutes import RTAX_CC_ALGO, RTAX_LOCK, RTAX_QUICKACK, RTAX_RTO_MIN, of_run, set_up, tell_routes
from testbed.system.netns import in_node
from testbed.wire import tcpinfo


@pytest.mark.parametrize(
    ("dilation", "available", "allowed", "pinned"),
    [
        (1.0, "reno cubic", "reno cubic", None),
        (1.0, "reno bbr cubic", "reno bbr", b"cubic\0"),
        (1.0, "reno bbr", "reno bbr", None),
        (1.0, "bbr", "bbr", None),
        (1.0, "", "", None),
        (2.0, "reno bbr cubic", "reno bbr", None),
        (2.0, "reno bbr cubic", "bbr", b"reno\0"),
    ],
)
def test_routes_name_a_congestion_control_only_where_sockets_may_not_choose_it(
    dilation: float, available: str, allowed: str, pinned: bytes | None
) -> None:
    assert of_run(dilation, available, allowed).get(RTAX_CC_ALGO) == pinned


@pytest.mark.parametrize(("dilation", "least_ms"), [(1.0, 200), (0.25, 50), (4.0, 800), (2.5, 500)])
def test_the_least_timeout_grows_with_the_dilation_and_acknowledgements_are_prompt(
    dilation: float, least_ms: int
) -> None:
    metrics = of_run(dilation, "reno cubic", "reno cubic")
    told = {RTAX_LOCK: 1 << 13, RTAX_RTO_MIN: least_ms, RTAX_QUICKACK: 1}
    assert metrics == {key: struct.pack("=I", value) for key, value in told.items()}


SET_UP = """\
link add v0 type veth peer name v1
link set v0 up
link set v1 up
addr add 10.9.9.1/32 dev v0
route add default dev v0
route add 10.8.0.0/16 via 10.8.0.1 dev v0 onlink mtu 1400"""


@pytest.mark.shaped
def test_every_route_of_a_node_gets_it_and_stays_what_it_was(hosts: MininetHosts) -> None:
    if "cubic" not in (tcproutes.SETTINGS / "tcp_available_congestion_control").read_text():
        pytest.skip("this kernel has no cubic")
    node = hosts.add("a")

    def routes() -> list[str]:
        return subprocess.run(
            enter(node, ["ip", "-4", "route", "show"]), capture_output=True, text=True
        ).stdout.splitlines()

    for line in SET_UP.splitlines():
        subprocess.run(enter(node, ["ip", *line.split()]), check=True)
    before = routes()
    metrics = {**of_run(2.5, "reno cubic", "reno"), RTAX_CC_ALGO: b"cubic\0"}
    assert in_node("node a", node, lambda: tell_routes(metrics)) is None
    after = routes()
    assert len(before) == 2
    told = [part for line in after for part in (line.split(),)]
    said = ("rto_min", "lock", "500ms", "quickack", "1", "congctl", "cubic")
    assert all(word in line for line in told for word in said)
    assert sorted([word for word in line if word not in said] for line in told) == sorted(
        [word for word in line.split() if word not in said] for line in before
    )
    refused = {RTAX_CC_ALGO: b"no-such\0"}
    assert in_node("node a", node, lambda: tell_routes(refused)) is not None


CABLE = """\
ip link add v0 type veth peer name v1 netns {peer}
ip addr add 10.9.9.1/32 dev v0
ip link set v0 up
ip route add 10.9.9.2 dev v0"""
FAR_END = """\
ip addr add 10.9.9.2/32 dev v1
ip link set v1 up
ip route add 10.9.9.1 dev v1"""


@pytest.mark.shaped
@pytest.mark.parametrize("dilation", [0.25, 1.0, 4.0])
def test_a_connection_has_the_timeout_that_its_route_says(hosts: MininetHosts, dilation: float) -> None:
    """On a path without delay the timeout is the least there is, and a little."""
    near, far = hosts.add("a"), hosts.add("b")
    for node, text in ((near, CABLE.format(peer=far)), (far, FAR_END)):
        for line in text.splitlines():
            subprocess.run(enter(node, line.split()), check=True)
    set_up([Port("a", 0, "10.9.9.1", near), Port("b", 1, "10.9.9.2", far)], dilation)
    server = in_node("b", far, lambda: socket.create_server(("10.9.9.2", 7)))
    one = in_node("a", near, lambda: socket.create_connection(("10.9.9.2", 7)))
    two = server.accept()[0]
    with server, one, two:
        for _ in range(4):
            one.sendall(b"x")
            assert two.recv(1) == b"x"
            two.sendall(b"y")
            assert one.recv(1) == b"y"
        for state in (tcpinfo.of(one), tcpinfo.of(two)):
            assert -tcpinfo.JIFFY_MS <= state.timeout_ms - 200 * dilation < 60
