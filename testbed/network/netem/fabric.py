"""The fabric `netem`: a router namespace whose kernel queues give every directed link its delay (see `plan`).

Every node has one veth to the router, a /32 address and one default route; neighbours are permanent on both ends, IPv6
and segmentation offloads are off. So nothing but the experiment's packets crosses the queues, each as it was sent,
and there is no path beside them (invariant 6). Interfaces are made straight inside the namespaces: no name of ours
ever stands in the machine's own namespace, and all of it ends with the namespaces.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from testbed.errors import MachineCannot
from testbed.network.capabilities import Capabilities, choose_fabric, load_modules, probe_capabilities
from testbed.network.hosts import MininetHosts, enter
from testbed.network.netem.leaves import NetemLeaves
from testbed.network.netem.netlink import RouteSocket
from testbed.network.netem.plan import LeafKind, check_links, downlink_lines, plan_downlinks, undelayed
from testbed.network.netem.rate_stages import RateStages, route_socket
from testbed.network.netem.shaping import Shaping
from testbed.network.spec.fabric import Counters, FabricName, Link, Port
from testbed.system.journal import Journal

GATEWAY = "169.254.1.1"  # link-local, RFC 3927: answered by nobody, only looked up in the permanent neighbour entry

# net.ipv4/6 sysctls, set inside a namespace; the IPv6 ones are absent on kernels without IPv6
_NO_IPV6 = (
    "for f in all default; do p=/proc/sys/net/ipv6/conf/$f/disable_ipv6; if [ -e $p ]; then echo 1 > $p; fi; done"
)
_ROUTER = f"echo 1 > /proc/sys/net/ipv4/ip_forward; {_NO_IPV6}"
_OFFLOADS_OFF = ["tso", "off", "gso", "off", "gro", "off"]


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
        version = subprocess.run(["tc", "-V"], capture_output=True, text=True).stdout.strip()
        leaves = self._attached().leaves
        unseeded = "none: this kernel's netem takes no seed, so lost packets differ between runs"
        return {
            "kernel": self._capabilities.kernel if self._capabilities else "",
            "tc": version,
            "qdiscs": leaves.kinds(),
            "offloads": "tso gso gro off",
            "loss_seed": self._run_id if leaves.takes_seeds else unseeded,
            **self._hosts.facts(),
        }

    def died(self) -> str | None:
        return None  # the host's kernel carries the packets

    def detach(self) -> None:
        if self._router is not None:
            for port in self._ports:  # before the namespaces end, as a container's may outlive the fabric
                _run(self._router, ["ip", "link", "delete", _device(port)], check=False)
        if self._route is not None:
            self._route.close()
        self._hosts.stop()
        self._router = self._route = self._shaping = None
        self._ports = []

    def _build(self, ports: list[Port]) -> None:
        router = self._router = self._hosts.add("router")
        _run(router, ["sh", "-ec", _ROUTER])
        self._ports = ports
        for port in ports:
            _run(port.pid, ["sh", "-ec", _NO_IPV6])
            _batch_ip(router, [
                f"link add name eth0 netns {port.pid} address {_mac(port, 1)} type veth "
                f"peer name {_device(port)} netns {router} address {_mac(port, 0)}"
            ])  # fmt: skip
            _run(port.pid, ["ethtool", "-K", "eth0", *_OFFLOADS_OFF])
            _run(router, ["ethtool", "-K", _device(port), *_OFFLOADS_OFF])
        # the queues stand before anything is up: the first packet is already counted
        self._tc(router, downlink_lines(plan_downlinks(ports, _device), self._leaf))
        self._route = route_socket(router)
        devices = self._route.interfaces()
        indexes = {port.node: devices[_device(port)] for port in ports}
        leaves = NetemLeaves(self.name, self._route, ports, indexes, self._run_id, self._leaf)
        self._shaping = Shaping(leaves, RateStages(ports, lambda port, lines: self._tc(port.pid, lines)))
        self.shape(undelayed(ports))
        _batch_ip(router, [line for port in ports for line in _router_lines(port)])
        for port in ports:
            _batch_ip(port.pid, _node_lines(port))

    def _prepare(self, links: dict[tuple[str, str], Link]) -> Callable[[], None]:
        if self._leaf == "pfifo" and any(_needs_netem(link) for link in links.values()):
            choose_fabric("netem", self._capabilities or probe_capabilities())  # says what is missing, when it is
            raise MachineCannot("fabric netem: attached with leaf pfifo, which adds no delay; attach with netem")
        return self._attached().prepare(links)

    def _tc(self, pid: int, lines: Sequence[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(enter(pid, ["tc", "-batch", "-"]), input=text, capture_output=True, text=True)
        if done.returncode:
            raise MachineCannot(
                f"fabric netem: tc rejected the plan: {' '.join(done.stderr.split())}; see testbed doctor"
            )

    def _attached(self) -> Shaping:
        if self._shaping is None:
            raise RuntimeError("the fabric is not attached")
        return self._shaping


def _needs_netem(link: Link) -> bool:
    return bool(link.one_way_ms or link.jitter_ms or link.loss or link.burst_loss or link.reorder or not link.up)


def _device(port: Port) -> str:
    return f"r{port.index}"


def _mac(port: Port, end: int) -> str:
    """Locally administered (IEEE 802, second bit of the first octet), distinct per node and end."""
    return f"02:77:00:{end:02x}:{port.index >> 8:02x}:{port.index & 255:02x}"


def _router_lines(port: Port) -> list[str]:
    device = _device(port)
    return [
        f"link set {device} up",
        f"neigh replace {port.address} lladdr {_mac(port, 1)} dev {device} nud permanent",
        f"route add {port.address}/32 dev {device}",
    ]


def _node_lines(port: Port) -> list[str]:
    return [
        "link set lo up",
        f"addr add {port.address}/32 dev eth0",
        "link set eth0 up",
        f"neigh replace {GATEWAY} lladdr {_mac(port, 0)} dev eth0 nud permanent",
        f"route add default via {GATEWAY} dev eth0 onlink",
    ]


def _batch_ip(pid: int | None, lines: Sequence[str]) -> None:
    argv = ["ip", "-batch", "-"]
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(argv if pid is None else enter(pid, argv), input=text, capture_output=True, text=True)
    if done.returncode:
        raise MachineCannot(f"fabric netem: ip refused: {' '.join(done.stderr.split())}; see testbed doctor")


def _run(pid: int, argv: list[str], check: bool = True) -> str:
    done = subprocess.run(enter(pid, argv), capture_output=True, text=True)
    if check and done.returncode:
        raise MachineCannot(f"fabric netem: {argv[0]} failed: {' '.join(done.stderr.split())}; see testbed doctor")
    return done.stdout
