"""The fabric `netem`: a router namespace whose kernel queues give every ordered pair its delay (see `plan`).

Every node has one veth to the router, a /32 address and one default route; neighbours are permanent on both ends, IPv6
and segmentation offloads are off. So nothing but the experiment's packets crosses the queues, each as it was sent,
and there is no path beside them (invariant 6). Interfaces are made straight inside the namespaces: no name of ours
ever stands in the machine's own namespace, and all of it ends with the namespaces.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from testbed.errors import MachineCannot
from testbed.network.capabilities import Capabilities, choose_fabric, probe_capabilities
from testbed.network.fabric import Counters, FabricName, Link, Port
from testbed.network.hosts import MininetHosts, enter
from testbed.network.journal import Journal
from testbed.network.plan import (
    CATCH_ALL,
    FIRST_CLASS,
    LeafKind,
    Verb,
    downlink_lines,
    plan_downlinks,
    plan_uplinks,
    undelayed,
    uplink_lines,
)

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
        self._hosts = MininetHosts(run_id, journal)
        self._leaf: LeafKind = leaf
        self._ports: list[Port] = []
        self._router: int | None = None
        self._rated: set[str] = set()  # nodes whose rate stage exists
        self._capabilities: Capabilities | None = None

    def attach(self, ports: Sequence[Port]) -> None:
        self._capabilities = probe_capabilities()
        if self._leaf == "netem":
            choose_fabric("netem", self._capabilities)
        try:
            self._build(list(ports))
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        if self._leaf == "pfifo" and any(link.one_way_ms or link.loss for link in links):
            choose_fabric("netem", self._capabilities or probe_capabilities())  # says what is missing, when it is
            raise MachineCannot("fabric netem: attached with leaf pfifo, which carries no delay; attach with netem")
        downlinks = plan_downlinks(self._ports, links, _device)
        for uplink in plan_uplinks(self._ports, links, self._rated):
            verb: Verb = "change" if uplink.src in self._rated else "add"
            self._tc(self._port(uplink.src).pid, uplink_lines(uplink, verb))
            self._rated.add(uplink.src)
        self._tc(self._router_pid(), downlink_lines(downlinks, "change", self._leaf))

    def read_back(self) -> dict[tuple[str, str], float]:
        return {
            pair: qdisc["options"].get("delay", {}).get("delay", 0.0) * 1000  # tc prints seconds, and no delay as none
            for pair, qdisc in self._leaves()
        }

    def counters(self) -> Counters:
        matched: dict[tuple[str, str], int] = {}
        dropped = 0
        for pair, qdisc in self._leaves():
            matched[pair] = qdisc["packets"]
            dropped += qdisc["drops"]
        qdiscs = [*self._qdiscs(self._router_pid())]
        for node in self._rated:
            qdiscs += self._qdiscs(self._port(node).pid)
        return Counters(matched, sum(_unmatched(qdisc) for qdisc in qdiscs), dropped)

    def facts(self) -> dict[str, object]:
        version = subprocess.run(["tc", "-V"], capture_output=True, text=True).stdout.strip()
        kinds = sorted({qdisc["kind"] for qdisc in self._qdiscs(self._router_pid())} - {"noqueue"})
        return {
            "kernel": self._capabilities.kernel if self._capabilities else "",
            "tc": version,
            "qdiscs": kinds,
            "offloads": "tso gso gro off",
            "loss_seed": "none: this testbed gives netem no seed, so which packets are lost differs between runs",
            **self._hosts.facts(),
        }

    def died(self) -> str | None:
        return None  # the host's kernel carries the packets

    def detach(self) -> None:
        if self._router is not None:
            for port in self._ports:  # before the namespaces end, as a container's may outlive the fabric
                _run(self._router, ["ip", "link", "delete", _device(port)], check=False)
        self._hosts.stop()
        self._router = None
        self._ports.clear()
        self._rated.clear()

    def _build(self, ports: list[Port]) -> None:
        router = self._router = self._hosts.add("router")
        _run(router, ["sh", "-ec", _ROUTER])
        self._ports = ports
        for port in ports:
            _run(port.pid, ["sh", "-ec", _NO_IPV6])
            _batch_ip(None, [
                f"link add name eth0 netns {port.pid} address {_mac(port, 1)} type veth "
                f"peer name {_device(port)} netns {router} address {_mac(port, 0)}"
            ])  # fmt: skip
            _run(port.pid, ["ethtool", "-K", "eth0", *_OFFLOADS_OFF])
            _run(router, ["ethtool", "-K", _device(port), *_OFFLOADS_OFF])
        # the queues stand before anything is up: the first packet is already counted
        self._tc(router, downlink_lines(plan_downlinks(ports, undelayed(ports), _device), "add", self._leaf))
        _batch_ip(router, [line for port in ports for line in _router_lines(port)])
        for port in ports:
            _batch_ip(port.pid, _node_lines(port))

    def _tc(self, pid: int, lines: Sequence[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(enter(pid, ["tc", "-batch", "-"]), input=text, capture_output=True, text=True)
        if done.returncode:
            raise MachineCannot(
                f"fabric netem: tc refused the plan: {' '.join(done.stderr.split())}; see testbed doctor"
            )

    def _leaves(self) -> Iterable[tuple[tuple[str, str], dict[str, Any]]]:
        by_device = {_device(port): port.node for port in self._ports}
        by_handle = {f"{FIRST_CLASS + port.index:x}:": port.node for port in self._ports}
        for qdisc in self._qdiscs(self._router_pid()):
            if qdisc["dev"] in by_device and qdisc["handle"] in by_handle:
                yield (by_handle[qdisc["handle"]], by_device[qdisc["dev"]]), qdisc

    def _qdiscs(self, pid: int) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = json.loads(_run(pid, ["tc", "-s", "-j", "qdisc", "show"]))
        return shown

    def _port(self, node: str) -> Port:
        return next(port for port in self._ports if port.node == node)

    def _router_pid(self) -> int:
        if self._router is None:
            raise RuntimeError("the fabric is not attached")
        return self._router


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


def _unmatched(qdisc: dict[str, Any]) -> int:
    """What no class claimed: dropped and counted by the catch-all, or passed by an htb that has lost its default."""
    if qdisc["handle"] == f"{CATCH_ALL:x}:":
        return int(qdisc["packets"]) + int(qdisc["drops"])
    return int(qdisc.get("options", {}).get("direct_packets_stat", 0))


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
