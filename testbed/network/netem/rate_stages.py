"""The rate stages of a qdisc plan: an htb on the own interface of every sender that has a limited link.

Rule kept: a stage that stands is changed and never removed, as that would lose the packets in it; links without a
limit any more get a class that is open.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from testbed.network.netem.encoder import Qdisc, decode_qdisc
from testbed.network.netem.plan import Uplink, Verb, plan_uplinks, uplink_lines
from testbed.network.spec.fabric import Link, Port
from testbed.network.tctext import run_tc
from testbed.system.netlink import RouteSocket
from testbed.system.netns import in_namespace, namespace_of


class RateStages:
    """Carried out by tc, as a text of lines for one node; a stage that is as planned already costs nothing."""

    def __init__(self, fabric: str, ports: Sequence[Port]) -> None:
        self._fabric = fabric
        self._ports = {port.node: port for port in ports}
        self._standing: dict[str, Uplink] = {}

    def concern(self, links: Iterable[Link]) -> bool:
        """Whether these links, or what stands, need a look at all."""
        return bool(self._standing) or any(link.rate_bps is not None for link in links)

    def apply(self, links: Iterable[Link]) -> None:
        """Takes the links of all pairs."""
        for uplink in plan_uplinks(list(self._ports.values()), links, self._standing):
            if self._standing.get(uplink.src) != uplink:
                verb: Verb = "change" if uplink.src in self._standing else "add"
                run_tc(self._fabric, uplink.src, self._ports[uplink.src].pid, uplink_lines(uplink, verb))
                self._standing[uplink.src] = uplink

    def qdiscs(self) -> list[Qdisc]:
        """All queues of the senders that have a stage."""
        return [qdisc for node in self._standing for qdisc in qdiscs_of(self._ports[node].pid)]


def qdiscs_of(pid: int) -> list[Qdisc]:
    """All queues in the network namespace of a process."""
    route = route_socket(pid)
    try:
        return [decode_qdisc(message) for message in route.dump_qdiscs()]
    finally:
        route.close()


def route_socket(pid: int) -> RouteSocket:
    """A netlink socket in the network namespace of a process."""
    namespace = namespace_of(pid)
    try:
        return in_namespace(namespace, RouteSocket)
    finally:
        os.close(namespace)
