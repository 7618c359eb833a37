"""The capturing process of `capture`: packet sockets at both ends of each pair, one loop, one file per pair.

Standard input: the question as one line of JSON, then what is to stand in the files as their comment, until its end,
which is the order to stop. Standard output: `capturing` once every socket is open, and at the end, as JSON by file
name, how many packets were written and how many the kernel had to drop. Time stamps are the kernel's; in a dilated run
they are slowed down to virtual time from the start of the capture on. It runs at ordinary priority: times are the
kernel's, so it may be late and still be right. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from testbed.network.measure import pcapng
from testbed.system.linux import ETH_P_ALL, ETHERNET_HEADER_BYTES, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SOL_PACKET, TIMESPEC
from testbed.system.netns import in_namespace, namespace_of
from testbed.system.rights import give_up
from testbed.system.units import NS_PER_S

ARPHRD_ETHER = 1  # linux/if_arp.h; a TUN device is ARPHRD_NONE and carries bare IP packets
PACKET_STATISTICS = 6  # linux/if_packet.h
PACKET_OUTGOING = 4  # linux/if_packet.h
BUFFER_BYTES = 8 << 20
SNAP_BYTES = 65_535  # more than any packet here has
READ_BATCH = 64
APPLICATION = "wan-testbed"


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

    def read(self, file: BinaryIO, stamps: CaptureStamps) -> bool:
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
            time_ns = stamps.virtual_ns(seconds * NS_PER_S + nanoseconds)
            file.write(pcapng.packet(self.number, time_ns, data, len(data), outbound=outbound))
            self.written += 1
        return True

    def dropped(self) -> int:
        """Packets of this node that found no room, whether of the pair or not; struct tpacket_stats."""
        _, drops = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        return int(drops)


class CaptureStamps:
    """Time stamps of a run's packets: wall time, an Nth as fast from now on."""

    def __init__(self, dilation: float, start_ns: int) -> None:
        self._dilation = dilation
        self._start_ns = start_ns

    def virtual_ns(self, wall_ns: int) -> int:
        if self._dilation == 1:
            return wall_ns
        return self._start_ns + round((wall_ns - self._start_ns) / self._dilation)


class PairCapture:
    """One file and its two ends."""

    def __init__(self, question: Mapping[str, Any], stamps: CaptureStamps, comment: str) -> None:
        self.stamps = stamps
        both = frozenset(socket.inet_aton(end["address"]) for end in question["ends"])
        self.ends = [End(number, end, both) for number, end in enumerate(question["ends"])]
        self.name = Path(question["file"]).name
        self.file = Path(question["file"]).open("wb")  # noqa: SIM115  # open as long as the process lives
        self.file.write(pcapng.section(APPLICATION, comment))
        for end in self.ends:
            self.file.write(pcapng.interface(f"{end.node} eth0", f"as {end.node} sees it", end.linktype, SNAP_BYTES))

    def close(self, comment: str) -> None:
        """With its comment in place of the first one."""
        if comment:
            self.file.seek(0)
            self.file.write(pcapng.section(APPLICATION, comment))
        self.file.close()

    def facts(self) -> dict[str, int]:
        return {"packets": sum(end.written for end in self.ends), "dropped": sum(end.dropped() for end in self.ends)}


def capture(captures: list[PairCapture], stop: int) -> str:
    """Until `stop` is at its end, and then until nothing waits any more; returns what was said there."""
    by_descriptor = {end.socket.fileno(): (one, end) for one in captures for end in one.ends}
    poller = select.epoll()
    poller.register(stop, select.EPOLLIN)
    for descriptor in by_descriptor:
        poller.register(descriptor, select.EPOLLIN)
    running, said = True, b""
    while running:
        for descriptor, _ in poller.poll():
            if descriptor == stop:
                more = os.read(stop, 4096)
                running, said = bool(more), said + more
                continue
            one, end = by_descriptor[descriptor]
            end.read(one.file, one.stamps)
    for one, end in by_descriptor.values():
        while end.read(one.file, one.stamps):
            pass
    return said.decode()


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
        stamps = CaptureStamps(question["dilation"], time.time_ns())
        captures = [PairCapture(one, stamps, question["comment"]) for one in question["captures"]]
    except OSError as error:
        sys.exit(str(error))
    give_up()
    with contextlib.suppress(BrokenPipeError):
        print("capturing", flush=True)
        said = capture(captures, sys.stdin.fileno())
        for one in captures:
            one.close(said)
        print(json.dumps({one.name: one.facts() for one in captures}), flush=True)


if __name__ == "__main__":
    main()
