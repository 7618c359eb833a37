"""The nodes of a network as a Mininet network object, for Mininet's own command line and its `pingall`.

Mininet's `Mininet` would build the network itself, check for root and change sysctls of the machine; here all stands
already, so only its view of it is made. Rule kept: nothing is killed by name. Mininet's own `iperf` runs `killall -9
iperf` over the whole machine, so ours measures in its place.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from testbed.errors import MachineCannot
from testbed.network.network import Network
from testbed.system.netns import in_namespace, namespace_of

IPERF_PORT = 5001  # Mininet's
IPERF_S = 5.0  # Mininet's
CHUNK = bytes(1 << 16)


def as_mininet(network: Network, say: Callable[[str], None]) -> Any:
    """A `mininet.net.Mininet` whose hosts are this network's nodes, under the names the experiment gives them."""
    try:
        from mininet.link import Intf
        from mininet.net import Mininet
    except ImportError as error:
        raise MachineCannot(f"shell: Mininet cannot be imported ({error}); see testbed doctor") from error

    class ShapedIntf(Intf):  # type: ignore[misc,name-defined]  # Mininet carries no types
        """`eth0` as it stands; Mininet's would move an interface of the machine into the node and reset addresses."""

        def __init__(self, node: Any, address: str) -> None:
            self.name, self.node, self.link, self.mac = "eth0", node, None, None
            self.ip, self.prefixLen = address, 32
            self.params: dict[str, object] = {}
            node.addIntf(self, moveIntfFn=lambda *_: None)

        def updateIP(self) -> str:  # noqa: N802  # Mininet's name
            return str(self.ip)

    class ShapedNet(Mininet):  # type: ignore[misc,name-defined]
        """What Mininet's command line asks of a network."""

        def __init__(self) -> None:
            self.hosts: list[Any] = []
            self.switches: list[Any] = []
            self.controllers: list[Any] = []
            self.links: list[Any] = []
            self.terms: list[Any] = []
            self.nameToNode: dict[str, Any] = {}  # Mininet's name
            for port in network.ports:
                host = network.hosts.host(port.node)
                host.name = port.node
                ShapedIntf(host, port.address)
                self.hosts.append(host)
                self.nameToNode[port.node] = host

        def iperf(self, hosts: Sequence[Any] | None = None, l4Type: str = "TCP", **_: Any) -> list[str]:  # noqa: N803
            """One TCP flow for five seconds, from the first to the last host if none are given."""
            client, server = hosts or (self.hosts[0], self.hosts[-1])
            if l4Type != "TCP":
                say("iperf only measures TCP here\n")
                return []
            say(f"*** Iperf: testing TCP bandwidth between {client.name} and {server.name}\n")
            speed = f"{throughput_bps(client.pid, server.pid, server.IP(), IPERF_S) / 1e6:.1f} Mbits/sec"
            say(f"*** Results: {speed}\n")
            return [speed, speed]

    return ShapedNet()


def throughput_bps(client_pid: int, server_pid: int, server_address: str, seconds: float) -> float:
    """Goodput of one TCP flow between two namespaces, as received. Raises MachineCannot when nothing connects."""
    listener = _within(server_pid, lambda: socket.create_server((server_address, IPERF_PORT)))
    try:
        sender = _within(client_pid, lambda: socket.create_connection((server_address, IPERF_PORT), timeout=10))
    except OSError as error:
        listener.close()
        raise MachineCannot(f"iperf: no connection to {server_address} ({error}); is the link cut?") from error
    receiver, _ = listener.accept()
    listener.close()
    pump = threading.Thread(target=_send_until, args=(sender, time.monotonic() + seconds))
    pump.start()
    started, received = time.monotonic(), 0
    while data := receiver.recv(len(CHUNK)):
        received += len(data)
    took_s = time.monotonic() - started
    pump.join()
    receiver.close()
    return 8 * received / took_s


def _send_until(sender: socket.socket, deadline: float) -> None:
    with sender:
        while time.monotonic() < deadline:
            sender.sendall(CHUNK)


def _within(pid: int, act: Callable[[], socket.socket]) -> socket.socket:
    """A socket stays in the namespace it was made in."""
    namespace = namespace_of(pid)
    try:
        return in_namespace(namespace, act)
    finally:
        os.close(namespace)
