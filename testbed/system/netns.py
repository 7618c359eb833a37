"""Acts inside another process's network namespace, and sets up one IPv4 interface there, with the classic ioctls.

Uses the standard library only, because the relay's process must start in milliseconds: importing pyroute2, which sets
up the interfaces of the other fabrics (`interfaces`), takes 0.16 s. It also turns offloads off, 20 times as fast as
pyroute2, and sets the lab's neighbours, whose number grows with the square of the nodes', 60 times as fast. Namespaces
are entered by a separate thread that ends afterwards, so no caller ever finds itself in the wrong one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from testbed.errors import MachineCannot
from testbed.system.linux import CLONE_NEWNET
from testbed.system.netlink import HEADER, NLM_F_ACK, NLM_F_REQUEST, RTM_NEWLINK, Refusal, RouteSocket, attribute

T = TypeVar("T")

# linux/sockios.h
SIOCADDRT = 0x890B
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
SIOCSIFMTU = 0x8922
SIOCGIFHWADDR = 0x8927
SIOCETHTOOL = 0x8946
SIOCSARP = 0x8955

IFF_UP = 0x1  # linux/if.h
IFNAMSIZ = 16  # linux/if.h
IFLA_TXQLEN = 13  # linux/if_link.h
RTF_UP = 0x1  # linux/route.h
ATF_COM, ATF_PERM = 0x02, 0x04  # linux/if_arp.h

# linux/ethtool.h; each takes struct ethtool_value {u32 cmd, u32 data}
ETHTOOL_STXCSUM = 0x17
ETHTOOL_STSO = 0x1F
ETHTOOL_SGSO = 0x24
ETHTOOL_SGRO = 0x2C

_libc = ctypes.CDLL(None, use_errno=True)


def namespace_of(pid: int) -> int:
    """An open descriptor of the network namespace that process `pid` lives in."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def device_drops(pid: int, device: str) -> int:
    """Packets that the device itself has dropped, both ways, in the namespace of process `pid`; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    except OSError:
        return 0
    found = next((line.partition(":")[2].split() for line in lines if line.strip().startswith(f"{device}:")), None)
    return 0 if found is None else int(found[3]) + int(found[11])  # the `drop` columns of Receive and of Transmit


def new_namespace() -> int:
    """A fresh network namespace that nothing but the returned descriptor (and sockets in it) keeps alive."""

    def create() -> int:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare a network namespace")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(create)


def in_namespace(namespace: int, act: Callable[[], T]) -> T:
    """Runs `act` in the namespace of the descriptor; processes it starts are born there too."""

    def enter() -> T:
        join_namespace(namespace)
        return act()

    return _in_thread(enter)


def join_namespace(namespace: int) -> None:
    """This thread lives in the namespace of the descriptor from now on."""
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "enter a network namespace")


def in_node(where: str, pid: int, act: Callable[[], T]) -> T:
    """Runs `act` in the network namespace of a node's process; `where` names the node if the kernel refuses."""
    try:
        namespace = namespace_of(pid)
    except (FileNotFoundError, ProcessLookupError):  # the latter while it is going
        raise MachineCannot(f"{where}: process {pid} has ended; see its log") from None
    try:
        return in_namespace(namespace, act)
    except OSError as error:
        raise MachineCannot(
            f"{where}: the kernel refused to set up its network ({error}); see testbed doctor"
        ) from error
    finally:
        os.close(namespace)


def _in_thread(act: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def refuse_ipv6() -> None:
    """Turns IPv6 off in the current namespace: router and neighbour discovery would be traffic that no link shapes."""
    for scope in ("all", "default"):
        path = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
        if path.exists():  # a kernel without IPv6 has nothing to turn off
            set_sysctl(path, "1", "IPv6 cannot be turned off")


def set_sysctl(path: Path, value: str, cannot: str) -> None:
    """A setting under /proc/sys of the current namespace; `cannot` begins the error where all of it is read-only."""
    try:
        path.write_text(value)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise MachineCannot(
            f"{cannot} in the nodes, as /proc/sys is read-only; "
            "fix: start the container with --security-opt systempaths=unconfined"
        ) from None


class Interface:
    """One network interface of the current namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Interface:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def bring_up(self) -> None:
        flags = struct.unpack_from("h", self._request(SIOCGIFFLAGS, b""), IFNAMSIZ)[0]
        self._request(SIOCSIFFLAGS, struct.pack("h", flags | IFF_UP))

    def set_queue(self, packets: int) -> None:
        """By rtnetlink: the ioctl for it asks for a right over the whole machine, which a user namespace has not."""
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(self.name), 0, 0)  # struct ifinfomsg
        body += attribute(IFLA_TXQLEN, struct.pack("=I", packets))
        route = RouteSocket()
        try:
            header = HEADER.pack(HEADER.size + len(body), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
            (answer,) = route.exchange([header + body])
        finally:
            route.close()
        if isinstance(answer, Refusal) and answer.number:
            raise OSError(answer.number, answer.text)

    def set_mtu(self, size: int) -> None:
        self._request(SIOCSIFMTU, struct.pack("i", size))

    def set_host_address(self, address: str) -> None:
        """The address with prefix length 32: the interface itself claims no other node."""
        self._request(SIOCSIFADDR, _sockaddr(address))
        self._request(SIOCSIFNETMASK, _sockaddr("255.255.255.255"))

    def set_default_route(self) -> None:
        """Everything leaves through this interface; struct rtentry of linux/route.h."""
        anywhere = _sockaddr("0.0.0.0")
        device = ctypes.create_string_buffer(self.name.encode())
        destination_and_flags = (0, anywhere, anywhere, anywhere, RTF_UP, 0)
        entry = struct.pack("L16s16s16sHhLPhPLLH0L", *destination_and_flags, 0, 0, 0, ctypes.addressof(device), 0, 0, 0)
        fcntl.ioctl(self._socket, SIOCADDRT, entry)

    def hardware_address(self) -> bytes:
        return self._request(SIOCGIFHWADDR, b"")[IFNAMSIZ + 2 : IFNAMSIZ + 8]

    def set_neighbour(self, address: str, hardware: bytes) -> None:
        """A permanent neighbour entry, so that no ARP ever crosses a shaped link; struct arpreq of linux/if_arp.h."""
        mac = struct.pack("H14s", 1, hardware)  # family 1: ARPHRD_ETHER
        entry = struct.pack("16s16si16s16s", _sockaddr(address), mac, ATF_COM | ATF_PERM, b"", self.name.encode())
        fcntl.ioctl(self._socket, SIOCSARP, entry)

    def refuse_offloads(self) -> None:
        """Real packets with real checksums: no segmentation or checksum is left to hardware that is not there."""
        self._turn_off(ETHTOOL_STXCSUM)
        self.refuse_segmentation()

    def refuse_segmentation(self) -> None:
        """Packets as they were sent: none is cut up, and none put together, behind the queues."""
        self._turn_off(ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO)

    def _turn_off(self, *commands: int) -> None:
        for command in commands:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            self._request(SIOCETHTOOL, struct.pack("P", ctypes.addressof(value)))

    def _request(self, command: int, payload: bytes) -> bytes:
        """One ioctl on struct ifreq (40 bytes on 64-bit machines): the name, then a union."""
        return fcntl.ioctl(self._socket, command, struct.pack("16s24s", self.name.encode(), payload))


def _sockaddr(address: str) -> bytes:
    """struct sockaddr_in with port 0."""
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
