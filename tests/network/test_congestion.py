"""Connections of nodes without rights use cubic also where the machine's default is another one."""

from __future__ import annotations

import os
import subprocess

import pytest

from testbed.network import congestion
from testbed.network.congestion import CHANGE, to_be_pinned


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


IN_NAMESPACE = """\
set -e
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v1 up
ip addr add 10.9.9.1/32 dev v0
ip link set v0 up
ip route add default dev v0
sh -c "$0" cubic
ip -4 route show
"""


@pytest.mark.shaped
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a network namespace")
def test_every_route_of_a_namespace_gets_it():
    if "cubic" not in (congestion.SETTINGS / "tcp_available_congestion_control").read_text():
        pytest.skip("this kernel has no cubic")
    done = subprocess.run(["unshare", "--net", "bash", "-c", IN_NAMESPACE, CHANGE], capture_output=True, text=True)
    if "Unknown device type" in done.stderr:
        pytest.skip("this kernel has no veth")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1]
    assert all("congctl cubic" in line for line in done.stdout.strip().splitlines())
