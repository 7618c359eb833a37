"""The native side of the lab: a veth from every node to a private switch namespace, a packet socket on its far end.

The node's end is `eth0` in the node's namespace. The switch ends `port0`, `port1`, ... stand in a namespace without a
name and without a process: only descriptors of this process, and the sockets the lab's kernel inherits, keep it alive,
so nothing shows on the host and nothing survives both. Offloads are off: real packets with real checksums travel.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from testbed.errors import MachineCannot
from testbed.network.spec.fabric import Port
from testbed.system.linux import ETH_P_ALL, SO_RCVBUFFORCE, SO_SNDBUFFORCE, SOL_PACKET
from testbed.system.netns import Interface, in_namespace, namespace_of, new_namespace, refuse_ipv6

T = TypeVar("T")

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
            self.hardware = [_in_node(port, _hardware_address) for port in ports]
            for port in ports:
                _in_node(port, partial(self._configure, port))
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
        lines = [f"link delete dev port{index}" for index in range(len(self._ports))]
        with contextlib.suppress(MachineCannot):  # a link whose node has ended is gone already
            in_namespace(self._namespace, partial(_run, ["ip", "-force", "-batch", "-"], lines))
        os.close(self._namespace)
        self._namespace = -1

    def _make_switch_ends(self) -> None:
        refuse_ipv6()
        veth = "type veth peer name eth0 netns"
        lines = [f"link add name port{index} {veth} {port.pid}" for index, port in enumerate(self._ports)]
        _run(["ip", "-batch", "-"], lines)
        for index in range(len(self._ports)):
            with Interface(f"port{index}") as end:
                end.refuse_offloads()
                end.set_mtu(MTU)
                end.bring_up()
            self.sockets.append(_packet_socket(f"port{index}"))

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


def run_in_node(port: Port, command: Sequence[str], lines: Sequence[str] = ()) -> str:
    """Runs a tool of the host in the node's network namespace, with the lines as its input; returns its output."""
    return _in_node(port, partial(_run, command, lines))


def _in_node(port: Port, act: Callable[[], T]) -> T:
    try:
        namespace = namespace_of(port.pid)
    except FileNotFoundError:
        raise MachineCannot(f"lab: node {port.node}: process {port.pid} has ended; see its log") from None
    try:
        return in_namespace(namespace, act)
    finally:
        os.close(namespace)


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


def _run(command: Sequence[str], lines: Sequence[str]) -> str:
    text = "".join(f"{line}\n" for line in lines)
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[0]
        fix = "run as root, and start nodes without a network"
        raise MachineCannot(f"lab: {' '.join(command)} failed on a node's link ({reason}); fix: {fix}")
    return result.stdout
