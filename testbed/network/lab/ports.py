"""The native side of the lab: a veth from every node to a private switch namespace, a packet socket on its far end.

The node's end is `eth0` in the node's namespace. The switch ends `port0`, `port1`, ... stand in a namespace without a
name and without a process: only descriptors of this process, and the sockets the lab's kernel inherits, keep it alive,
so nothing shows on the host and nothing survives both. Offloads are off: real packets with real checksums travel.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import partial

from testbed.errors import MachineCannot
from testbed.network.interfaces import Requests
from testbed.network.spec.fabric import Port
from testbed.system.linux import ETH_P_ALL, SO_RCVBUFFORCE, SO_SNDBUFFORCE, SOL_PACKET
from testbed.system.netns import Interface, in_namespace, in_node, new_namespace, refuse_ipv6

PACKET_IGNORE_OUTGOING = 23  # linux/if_packet.h
SOCKET_BUFFER_BYTES = 8 << 20
MTU = 1500


class SwitchPorts:
    """The veths of all nodes; `sockets` and `hardware` in the order of the ports."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self._ports = tuple(ports)
        self.sockets: list[socket.socket] = []
        self.hardware: list[bytes] = []
        try:
            self._namespace = new_namespace()
        except OSError as error:
            raise MachineCannot(f"lab: no network namespace ({error.strerror}); fix: run as root") from error
        try:
            in_namespace(self._namespace, self._make_switch_ends)
            self.hardware = [in_node(f"fabric lab: node {port.node}", port.pid, _hardware_address) for port in ports]
            for port in ports:
                in_node(f"fabric lab: node {port.node}", port.pid, partial(self._configure, port))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the veths at once (the kernel itself would take its time); what is already gone is fine."""
        for opened in self.sockets:
            opened.close()
        self.sockets = []
        if self._namespace < 0:
            return
        in_namespace(self._namespace, self._delete_switch_ends)
        os.close(self._namespace)
        self._namespace = -1

    def _make_switch_ends(self) -> None:
        refuse_ipv6()
        wanted = Requests("fabric lab")
        for index, port in enumerate(self._ports):
            wanted.add_veth(f"port{index}", None, "eth0", None, port.pid)
        wanted.send()
        for index in range(len(self._ports)):
            with Interface(f"port{index}") as end:
                end.refuse_offloads()
                end.set_mtu(MTU)
                end.bring_up()
            self.sockets.append(_packet_socket(f"port{index}"))

    def _delete_switch_ends(self) -> None:
        wanted = Requests("fabric lab")
        for index in range(len(self._ports)):
            wanted.delete(f"port{index}")
        wanted.try_all()  # one whose node has ended is gone already

    def _configure(self, port: Port) -> None:
        refuse_ipv6()
        with Interface("lo") as loopback:
            loopback.bring_up()
        with Interface("eth0") as end:
            end.refuse_offloads()
            end.set_mtu(MTU)
            end.set_host_address(port.address)
            end.bring_up()
            end.set_default_route()
            for other, hardware in zip(self._ports, self.hardware, strict=True):
                if other != port:
                    end.set_neighbour(other.address, hardware)


def _hardware_address() -> bytes:
    with Interface("eth0") as end:
        return end.hardware_address()


def _packet_socket(device: str) -> socket.socket:
    """Every frame that arrives at the device, and none that this socket itself sends there."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.bind((device, 0))
    opened.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for force, ask in ((SO_SNDBUFFORCE, socket.SO_SNDBUF), (SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            opened.setsockopt(socket.SOL_SOCKET, force, SOCKET_BUFFER_BYTES)
        except PermissionError:  # in a user namespace: as much as net.core.wmem_max and rmem_max allow, silently
            opened.setsockopt(socket.SOL_SOCKET, ask, SOCKET_BUFFER_BYTES)
    return opened
