"""Which congestion control the nodes' connections use, whatever the machine's default is (`testbed.wire.connection`).

A socket may choose one that the machine allows to everybody. Where cubic is there and not among those, as on machines
with bbr for a default, a program without rights cannot; then the nodes' routes say so for every connection over them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.network.hosts import enter
from testbed.wire.connection import CONGESTION_CONTROL

SETTINGS = Path("/proc/sys/net/ipv4")
# each route as `ip route` prints it, and with the choice in addition
CHANGE = 'ip -4 route show | while read -r route; do ip -4 route change $route congctl "$0" || exit; done'


def to_be_pinned(available: str, allowed: str) -> str | None:
    """The one that routes must name; None where sockets can choose it themselves."""
    best = next((name for name in CONGESTION_CONTROL if name in available.split()), None)
    return None if best is None or best in allowed.split() else best


def pin(pids: Iterable[int]) -> None:
    """For the network namespaces of these processes, once their routes are there."""
    try:
        settings = [(SETTINGS / f"tcp_{which}_congestion_control").read_text() for which in ("available", "allowed")]
    except OSError:
        return  # a kernel without the choice
    if (name := to_be_pinned(*settings)) is None:
        return
    for pid in pids:
        done = subprocess.run(enter(pid, ["sh", "-c", CHANGE, name]), capture_output=True, text=True)
        if done.returncode:
            raise MachineCannot(
                f"nodes: cannot set the congestion control {name} on their routes: {done.stderr.strip()}"
            )
