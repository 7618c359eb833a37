"""Interfaces, addresses, routes and neighbours of a node: encoded by pyroute2, carried by our own `RouteSocket`.

pyroute2 knows the messages, and says so in readable calls; one socket per namespace sends what is to be set up there in
one datagram and gets an answer to each request. Rule kept: what the kernel refuses is one line that names node,
interface and fix. pyroute2 is imported when it is first needed, as that takes 0.16 s of processor time: a process that
starts often and sets up one device uses `relay_netns`.
"""

from __future__ import annotations

import errno
import socket

from testbed.errors import MachineCannot
from testbed.system.netlink import Refusal, RouteSocket, messages

NUD_PERMANENT = 0x80  # linux/neighbour.h
RTNH_F_ONLINK = 4  # linux/rtnetlink.h: the gateway is behind the device, whatever the addresses say
FIXES = {
    errno.EPERM: "run as root, or see testbed doctor",
    errno.EEXIST: "start the node without a network",
    errno.EOPNOTSUPP: "load the kernel module veth",
    errno.ENODEV: "leave the node's interfaces to one program",
}


class Requests:
    """What is to be set up in the current network namespace, in this order; `send` carries it out."""

    def __init__(self, where: str) -> None:
        """`where` begins every error, such as `fabric netem: node user0`."""
        from pyroute2.iproute.linux import IPBatch  # see above

        self._where = where
        self._batch = IPBatch()
        self._subjects: list[str] = []

    def add_veth(self, device: str, hardware: str | None, peer: str, peer_hardware: str | None, peer_pid: int) -> None:
        """A cable from `device` here to `peer` in the namespace of a process; the kernel draws addresses not given."""
        here = {"address": hardware} if hardware else {}
        there = {"ifname": peer, "net_ns_pid": peer_pid, **({"address": peer_hardware} if peer_hardware else {})}
        self._batch.link("add", ifname=device, kind="veth", peer=there, **here)
        self._subjects.append(device)

    def delete(self, device: str) -> None:
        self._batch.link("del", ifname=device)
        self._subjects.append(device)

    def bring_up(self, device: str) -> None:
        self._batch.link("set", ifname=device, state="up")
        self._subjects.append(device)

    def add_address(self, device: str, address: str) -> None:
        """With prefix length 32: the interface itself claims no other node."""
        self._batch.addr("add", index=self._index(device), address=address, prefixlen=32)
        self._subjects.append(device)

    def set_neighbour(self, device: str, address: str, hardware: str) -> None:
        """A permanent entry, so that no ARP ever crosses a shaped link."""
        index = self._index(device)
        self._batch.neigh("replace", dst=address, lladdr=hardware, ifindex=index, state=NUD_PERMANENT)
        self._subjects.append(device)

    def add_host_route(self, device: str, address: str) -> None:
        self._batch.route("add", dst=f"{address}/32", oif=self._index(device), scope="link")
        self._subjects.append(device)

    def add_default_route(self, device: str, gateway: str) -> None:
        index = self._index(device)
        self._batch.route("add", dst="default", gateway=gateway, oif=index, flags=RTNH_F_ONLINK)
        self._subjects.append(device)

    def send(self) -> None:
        """Use once. Raises MachineCannot for the first request that is refused; those after it are carried out too."""
        for device, refusal in self.try_all():
            raise self._refused(device, refusal.number, refusal.text)

    def try_all(self) -> list[tuple[str, Refusal]]:
        """Use once. Sends everything; returns what was refused, by interface."""
        requests = [message for *_, message in messages(bytes(self._batch.batch))]
        subjects, self._subjects = self._subjects, []
        self._batch.close()
        route = RouteSocket()
        try:
            answers = route.exchange(requests)
        finally:
            route.close()
        return [
            (device, answer)
            for device, answer in zip(subjects, answers, strict=True)
            if isinstance(answer, Refusal) and answer.number
        ]

    def _index(self, device: str) -> int:
        try:
            return socket.if_nametoindex(device)
        except OSError as error:
            raise self._refused(device, errno.ENODEV, "no such interface") from error

    def _refused(self, device: str, number: int, text: str) -> MachineCannot:
        fix = FIXES.get(number, "see testbed doctor")
        return MachineCannot(f"{self._where}: interface {device}: the kernel refused it ({text}); {fix}")
