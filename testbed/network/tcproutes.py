"""What the nodes' routes tell TCP, whatever the machine's defaults are: its shortest timeout, prompt acknowledgements.

TCP's constants are wall time. In a run at dilation N the least retransmission timeout is N times 200 ms, or a lost
packet would be repaired N times too early; the timeout of tail loss probes follows it. Acknowledgements are not
delayed at any N: their 40 ms would be 40 / N, and show in every round-trip time that TCP measures. Other sockets than
the nodes' own cannot tell the difference.

A congestion control is chosen by the socket (`testbed.wire.connection`), which may choose one that the machine allows
to everybody. Where cubic is there and not among those, as on machines with bbr for a default, a program without rights
cannot; then the routes name it too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

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
from testbed.wire.connection import congestion_control
from testbed.wire.tcpinfo import least_timeout_ms

SETTINGS: Final = Path("/proc/sys/net/ipv4")
# linux/rtnetlink.h
RTA_METRICS, RTA_CACHEINFO = 8, 12
RTAX_LOCK, RTAX_RTO_MIN, RTAX_QUICKACK, RTAX_CC_ALGO = 1, 13, 15, 16
RT_TABLE_MAIN = 254
RTNH_F_DEAD, RTNH_F_LINKDOWN = 1, 16  # what the kernel finds out about a route, and takes from nobody
U32 = struct.Struct("=I")

Metrics = Mapping[int, bytes]  # by RTAX number


def of_run(dilation: float, available: str, allowed: str) -> Metrics:
    """What every route of a node says. `available`, `allowed`: congestion controls, as the kernel lists them."""
    found = {
        RTAX_LOCK: U32.pack(1 << RTAX_RTO_MIN),  # else TCP does not look at it (net/ipv4/tcp_input.c, tcp_rto_min)
        RTAX_RTO_MIN: U32.pack(round(least_timeout_ms(dilation))),
        RTAX_QUICKACK: U32.pack(1),
    }
    best = next((name for name in congestion_control(dilation) if name in available.split()), None)
    if best is not None and best not in allowed.split():
        found[RTAX_CC_ALGO] = best.encode() + b"\0"
    return found


def set_up(ports: Iterable[Port], dilation: float) -> None:
    """For the nodes' network namespaces, once their routes are there."""
    metrics = of_run(dilation, *(_listed(which) for which in ("available", "allowed")))
    for port in ports:
        if (refused := in_node(f"node {port.node}", port.pid, partial(tell_routes, metrics))) is not None:
            raise MachineCannot(
                f"node {port.node}: cannot set TCP's timeout and congestion control on its routes ({refused}); "
                "see testbed doctor"
            )


def tell_routes(metrics: Metrics) -> str | None:
    """Every route of the current namespace's main table; returns what the kernel says against it, if anything."""
    route = RouteSocket()
    try:
        shown = enumerate(route.dump_routes(), start=1)
        requests = [request for number, one in shown if (request := with_metrics(one, metrics, number)) is not None]
        answers = route.exchange(requests)
    finally:
        route.close()
    return next((one.text for one in answers if isinstance(one, Refusal) and one.number), None)


def with_metrics(shown: bytes, metrics: Metrics, sequence: int) -> bytes | None:
    """The request that changes a route, as the kernel shows it, by these alone; None for one of another table."""
    *fields, flags = ROUTE.unpack_from(shown, HEADER.size)
    if fields[4] != RT_TABLE_MAIN:
        return None
    found = attributes(shown, HEADER.size + ROUTE.size)
    merged = attributes(found.pop(RTA_METRICS, b"")) | dict(metrics)
    found.pop(RTA_CACHEINFO, None)
    found[RTA_METRICS] = b"".join(attribute(kind, value) for kind, value in merged.items())
    body = ROUTE.pack(*fields, flags & ~(RTNH_F_DEAD | RTNH_F_LINKDOWN))
    body += b"".join(attribute(kind, value) for kind, value in found.items())
    asks = NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE
    return HEADER.pack(HEADER.size + len(body), RTM_NEWROUTE, asks, sequence, 0) + body


def _listed(which: str) -> str:
    """Empty where the kernel has no choice."""
    try:
        return (SETTINGS / f"tcp_{which}_congestion_control").read_text()
    except OSError:
        return ""
