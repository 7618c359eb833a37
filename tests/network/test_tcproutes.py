"""What routes tell TCP: its least timeout at any dilation, and cubic where the machine has another default."""

from __future__ import annotations

import struct
import subprocess

import pytest

from testbed.network import tcproutes
from testbed.network.hosts import MininetHosts, enter
from testbed.network.tcproutes import RTAX_CC_ALGO, RTAX_QUICKACK, RTAX_RTO_MIN, of_run, tell_routes
from testbed.system.netns import in_node


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
    assert metrics == {RTAX_RTO_MIN: struct.pack("=I", least_ms), RTAX_QUICKACK: struct.pack("=I", 1)}


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
    said = ("rto_min", "500ms", "quickack", "1", "congctl", "cubic")
    assert all(word in line for line in told for word in said)
    assert sorted([word for word in line if word not in said] for line in told) == sorted(
        [word for word in line.split() if word not in said] for line in before
    )
    refused = {RTAX_CC_ALGO: b"no-such\0"}
    assert in_node("node a", node, lambda: tell_routes(refused)) is not None
