"""Which congestion control the nodes' connections use, whatever the machine's default is (`testbed.wire.connection`).

A socket may choose one that the machine allows to everybody. Where cubic is there and not among those, as on machines
with bbr for a default, a program without rights cannot; then the nodes' routes say so for every connection over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.network.spec.fabric import Port
from testbed.system.netlink import (
    HEADER,
    NLM_F_ACK,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    ROUTE,
    RTM_NEWROUTE,
    Refusal,
    RouteSocket,
    attribute,
    attributes,
)
from testbed.system.netns import in_node
from testbed.wire.connection import CONGESTION_CONTROL

SETTINGS = Path("/proc/sys/net/ipv4")
# linux/rtnetlink.h
RTA_METRICS, RTA_CACHEINFO, RTAX_CC_ALGO = 8, 12, 16
RT_TABLE_MAIN = 254
RTNH_F_DEAD, RTNH_F_LINKDOWN = 1, 16  # what the kernel finds out about a route, and takes from nobody


def to_be_pinned(available: str, allowed: str) -> str | None:
    """The one that routes must name; None where sockets can choose it themselves."""
    best = next((name for name in CONGESTION_CONTROL if name in available.split()), None)
    return None if best is None or best in allowed.split() else best


def pin(ports: Iterable[Port]) -> None:
    """For the nodes' network namespaces, once their routes are there."""
    try:
        settings = [(SETTINGS / f"tcp_{which}_congestion_control").read_text() for which in ("available", "allowed")]
    except OSError:
        return  # a kernel without the choice
    if (name := to_be_pinned(*settings)) is None:
        return
    for port in ports:
        if (refused := in_node(f"node {port.node}", port.pid, lambda: pin_routes(name))) is not None:
            raise MachineCannot(
                f"node {port.node}: cannot set the congestion control {name} on its routes ({refused}); "
                "see testbed doctor"
            )


def pin_routes(name: str) -> str | None:
    """Gives it to every route of the current namespace's main table; what the kernel says against it, if anything."""
    route = RouteSocket()
    try:
        shown = enumerate(route.dump_routes(), start=1)
        requests = [request for number, one in shown if (request := with_control(one, name, number)) is not None]
        answers = route.exchange(requests)
    finally:
        route.close()
    return next((one.text for one in answers if isinstance(one, Refusal) and one.number), None)


def with_control(shown: bytes, name: str, sequence: int) -> bytes | None:
    """The request that changes a route, as the kernel shows it, by this alone; None for one of another table."""
    *fields, flags = ROUTE.unpack_from(shown, HEADER.size)
    if fields[4] != RT_TABLE_MAIN:
        return None
    found = attributes(shown, HEADER.size + ROUTE.size)
    metrics = attributes(found.pop(RTA_METRICS, b"")) | {RTAX_CC_ALGO: name.encode() + b"\0"}
    found.pop(RTA_CACHEINFO, None)
    found[RTA_METRICS] = b"".join(attribute(kind, value) for kind, value in metrics.items())
    body = ROUTE.pack(*fields, flags & ~(RTNH_F_DEAD | RTNH_F_LINKDOWN))
    body += b"".join(attribute(kind, value) for kind, value in found.items())
    asks = NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE
    return HEADER.pack(HEADER.size + len(body), RTM_NEWROUTE, asks, sequence, 0) + body
