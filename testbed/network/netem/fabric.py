"""The fabric `netem`: a router namespace whose kernel queues give every directed link its delay (see `plan`).

Every node has one veth to the router, a /32 address and one default route; neighbours are permanent on both ends, IPv6
and segmentation offloads are off. So nothing but the experiment's packets crosses the queues, each as it was sent,
and there is no path beside them (invariant 6). Interfaces are made straight inside the namespaces: no name of ours
ever stands in the machine's own namespace, and all of it ends with the namespaces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.network.capabilities import Capabilities, choose_fabric, load_modules, probe_capabilities
from testbed.network.hosts import MininetHosts
from testbed.network.interfaces import Requests
from testbed.network.netem.leaves import NetemLeaves
from testbed.network.netem.plan import LeafKind, check_links, downlink_lines, plan_downlinks, undelayed
from testbed.network.netem.rate_stages import RateStages, route_socket
from testbed.network.netem.shaping import Shaping
from testbed.network.spec.fabric import Counters, FabricName, Link, Port
from testbed.network.tctext import run_tc, tc_version
from testbed.system.journal import Journal
from testbed.system.netlink import RouteSocket
from testbed.system.netns import Interface, in_node, refuse_ipv6, set_sysctl

GATEWAY = "169.254.1.1"  # link-local, RFC 3927: answered by nobody, only looked up in the permanent neighbour entry

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")  # of the namespace of the thread that opens it


class NetemFabric:
    """`leaf="pfifo"` builds the same tree on a kernel without netem; it carries packets, and refuses to be shaped."""

    name: FabricName = "netem"

    def __init__(self, run_id: str, journal: Journal, leaf: LeafKind = "netem") -> None:
        self._run_id = run_id
        self._hosts = MininetHosts(run_id, journal)
        self._leaf: LeafKind = leaf
        self._ports: list[Port] = []
        self._router: int | None = None
        self._route: RouteSocket | None = None  # to the router's kernel tables
        self._shaping: Shaping | None = None
        self._capabilities: Capabilities | None = None

    def attach(self, ports: Sequence[Port]) -> None:
        self._capabilities = probe_capabilities()
        if self._leaf == "netem":
            self._capabilities = load_modules(self._capabilities)
            choose_fabric("netem", self._capabilities)
        try:
            self._build(list(ports))
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        self._prepare(check_links(self._ports, links))()

    def change(self, links: Sequence[Link]) -> None:
        self.prepare(links)()

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        return self._prepare(check_links(self._ports, links, complete=False))

    def read_back(self) -> dict[tuple[str, str], float]:
        return self._attached().leaves.read_back()

    def counters(self) -> Counters:
        return self._attached().counters()

    def facts(self) -> dict[str, object]:
        leaves = self._attached().leaves
        unseeded = "none: this kernel's netem takes no seed, so lost packets differ between runs"
        return {
            "kernel": self._capabilities.kernel if self._capabilities else "",
            "tc": tc_version(),
            "qdiscs": leaves.kinds(),
            "offloads": "tso gso gro off",
            "loss_seed": self._run_id if leaves.takes_seeds else unseeded,
            **self._hosts.facts(),
        }

    def died(self) -> str | None:
        return None  # the host's kernel carries the packets

    def detach(self) -> None:
        if self._router is not None:  # before the namespaces end, as a container's may outlive the fabric
            with contextlib.suppress(MachineCannot):  # the router has ended, and its ends of the cables with it
                in_node("fabric netem: router", self._router, self._delete_cables)
        if self._route is not None:
            self._route.close()
        self._hosts.stop()
        self._router = self._route = self._shaping = None
        self._ports = []

    def _build(self, ports: list[Port]) -> None:
        router = self._router = self._hosts.add("router")
        self._ports = ports
        for port in ports:
            self._in(port, refuse_ipv6)  # before there is an interface that could ask for anything
        in_node("fabric netem: router", router, self._make_cables)
        # the queues stand before anything is up: the first packet is already counted
        run_tc(self.name, "router", router, downlink_lines(plan_downlinks(ports, _device), self._leaf))
        self._route = route_socket(router)
        devices = self._route.interfaces()
        indexes = {port.node: devices[_device(port)] for port in ports}
        leaves = NetemLeaves(self.name, self._route, ports, indexes, self._run_id, self._leaf)
        self._shaping = Shaping(leaves, RateStages(self.name, ports))
        self.shape(undelayed(ports))
        in_node("fabric netem: router", router, self._bring_router_up)
        for port in ports:
            self._in(port, partial(_bring_node_up, port))

    def _in(self, port: Port, act: Callable[[], None]) -> None:
        in_node(f"fabric netem: node {port.node}", port.pid, act)

    def _make_cables(self) -> None:
        set_sysctl(IP_FORWARD, "1", "packets cannot be forwarded")
        refuse_ipv6()
        wanted = Requests("fabric netem: router")
        for port in self._ports:
            wanted.add_veth(_device(port), _mac(port, 0), "eth0", _mac(port, 1), port.pid)
        wanted.send()
        for port in self._ports:
            with Interface(_device(port)) as end:
                end.refuse_segmentation()

    def _delete_cables(self) -> None:
        wanted = Requests("fabric netem: router")
        for port in self._ports:
            wanted.delete(_device(port))
        wanted.try_all()  # a cable whose node has ended is gone already

    def _bring_router_up(self) -> None:
        wanted = Requests("fabric netem: router")
        for port in self._ports:
            wanted.bring_up(_device(port))
            wanted.set_neighbour(_device(port), port.address, _mac(port, 1))
            wanted.add_host_route(_device(port), port.address)
        wanted.send()

    def _prepare(self, links: dict[tuple[str, str], Link]) -> Callable[[], None]:
        if self._leaf == "pfifo" and any(_needs_netem(link) for link in links.values()):
            choose_fabric("netem", self._capabilities or probe_capabilities())  # says what is missing, when it is
            raise MachineCannot("fabric netem: attached with leaf pfifo, which adds no delay; attach with netem")
        return self._attached().prepare(links)

    def _attached(self) -> Shaping:
        if self._shaping is None:
            raise RuntimeError("the fabric is not attached")
        return self._shaping


def _needs_netem(link: Link) -> bool:
    return bool(link.one_way_ms) or link.by_chance or not link.up


def _device(port: Port) -> str:
    return f"r{port.index}"


def _mac(port: Port, end: int) -> str:
    """Locally administered (IEEE 802, second bit of the first octet), distinct per node and end."""
    return f"02:77:00:{end:02x}:{port.index >> 8:02x}:{port.index & 255:02x}"


def _bring_node_up(port: Port) -> None:
    with Interface("eth0") as end:
        end.refuse_segmentation()
    wanted = Requests(f"fabric netem: node {port.node}")
    wanted.bring_up("lo")
    wanted.add_address("eth0", port.address)
    wanted.bring_up("eth0")
    wanted.set_neighbour("eth0", GATEWAY, _mac(port, 0))
    wanted.add_default_route("eth0", GATEWAY)
    wanted.send()
