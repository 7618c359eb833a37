"""The capturing process of `capture`: packet sockets at both ends of each pair, one loop, one file per pair.

Standard input: the question as one line of JSON, then nothing until its end, which is the order to stop. Standard
output: `capturing` once every socket is open, and at the end, as JSON by file name, how many packets were written and
how many the kernel had to drop. It runs at ordinary priority: times are the kernel's, so it may be late and still be
right. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from testbed.network.measure import pcapng
from testbed.system.linux import ETH_P_ALL, ETHERNET_HEADER_BYTES, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SOL_PACKET, TIMESPEC
from testbed.system.netns import in_namespace, namespace_of
from testbed.system.rights import give_up

ARPHRD_ETHER = 1  # linux/if_arp.h; a TUN device is ARPHRD_NONE and carries bare IP packets
PACKET_STATISTICS = 6  # linux/if_packet.h
PACKET_OUTGOING = 4  # linux/if_packet.h
BUFFER_BYTES = 8 << 20
SNAP_BYTES = 65_535  # more than any packet here has
READ_BATCH = 64


class End:
    """One node's side of a capture."""

    def __init__(self, number: int, question: Mapping[str, Any], both: frozenset[bytes]) -> None:
        self.number = number
        self.node: str = question["node"]
        self.written = 0
        self._both = both
        namespace = namespace_of(question["pid"])
        try:
            self.socket, hardware = in_namespace(namespace, _open)
        finally:
            os.close(namespace)
        ethernet = hardware == ARPHRD_ETHER
        self.linktype = pcapng.LINKTYPE_ETHERNET if ethernet else pcapng.LINKTYPE_RAW
        self._start = ETHERNET_HEADER_BYTES if ethernet else 0

    def read(self, file: BinaryIO) -> bool:
        """Takes what waits, at most READ_BATCH packets, and writes those of the pair; whether more may wait."""
        for _ in range(READ_BATCH):
            try:
                data, ancillary, _, sender = self.socket.recvmsg(SNAP_BYTES, socket.CMSG_SPACE(TIMESPEC.size))
            except OSError:  # nothing waits; or, ENETDOWN, the node has ended
                return False
            start = self._start
            # IPv4 header, RFC 791: source at byte 12, destination at 16
            if frozenset((data[start + 12 : start + 16], data[start + 16 : start + 20])) != self._both:
                continue
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            outbound = sender[2] == PACKET_OUTGOING
            file.write(pcapng.packet(self.number, seconds * 10**9 + nanoseconds, data, len(data), outbound=outbound))
            self.written += 1
        return True

    def dropped(self) -> int:
        """Packets of this node that found no room, whether of the pair or not; struct tpacket_stats."""
        _, drops = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return int(drops)


class PairCapture:
    """One file and its two ends."""

    def __init__(self, question: Mapping[str, Any]) -> None:
        both = frozenset(socket.inet_aton(end["address"]) for end in question["ends"])
        self.ends = [End(number, end, both) for number, end in enumerate(question["ends"])]
        self.name = Path(question["file"]).name
        self.file = Path(question["file"]).open("wb")  # noqa: SIM115  # open as long as the process lives
        self.file.write(pcapng.section("wan-testbed"))
        for end in self.ends:
            self.file.write(pcapng.interface(f"{end.node} eth0", f"as {end.node} sees it", end.linktype, SNAP_BYTES))

    def facts(self) -> dict[str, int]:
        return {"packets": sum(end.written for end in self.ends), "dropped": sum(end.dropped() for end in self.ends)}


def capture(captures: list[PairCapture], stop: int) -> None:
    """Until `stop` is at its end, and then until nothing waits any more."""
    by_descriptor = {end.socket.fileno(): (one, end) for one in captures for end in one.ends}
    poller = select.epoll()
    poller.register(stop, select.EPOLLIN)
    for descriptor in by_descriptor:
        poller.register(descriptor, select.EPOLLIN)
    running = True
    while running:
        for descriptor, _ in poller.poll():
            if descriptor == stop:
                running = bool(os.read(stop, 1))
                continue
            one, end = by_descriptor[descriptor]
            end.read(one.file)
    for one, end in by_descriptor.values():
        while end.read(one.file):
            pass


def _open() -> tuple[socket.socket, int]:
    """A packet socket at this namespace's eth0, and the kind of its hardware."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # protocol 0: nothing yet
    opened.setblocking(False)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:  # in a user namespace: as much as net.core.rmem_max allows
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    opened.bind(("eth0", ETH_P_ALL))
    return opened, opened.getsockname()[3]


def main() -> None:
    question = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]  # unbuffered: the rest is the end
    try:
        captures = [PairCapture(one) for one in question["captures"]]
    except OSError as error:
        sys.exit(str(error))
    give_up()
    with contextlib.suppress(BrokenPipeError):
        print("capturing", flush=True)
        capture(captures, sys.stdin.fileno())
        for one in captures:
            one.file.close()
        print(json.dumps({one.name: one.facts() for one in captures}), flush=True)


if __name__ == "__main__":
    main()
