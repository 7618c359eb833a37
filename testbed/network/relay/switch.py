"""Moves packets between the relay's devices and its delay line, and applies updates of the links a slice at a time.

Rules it keeps: a packet that belongs to no link (unknown destination, foreign source, not IPv4) is dropped and counted
as unmatched, never delivered; the lateness of every delivery is recorded; packets never wait for more than one slice
of an update, however many links it changes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from testbed.clock.api import WALL, Clock
from testbed.network.relay.impair import NONE, Chances
from testbed.network.relay.lateness import Lateness
from testbed.network.relay.queue import DelayLine, LinkState
from testbed.network.spec.fabric import BurstLoss
from testbed.system.linux import ETHERNET_HEADER_BYTES

MTU = 1500
READ_BATCH = 16  # packets taken from one device before departures are looked at again
SLICE_LINKS = 32  # of an update between two looks at the packets; some 20 us

Row = Sequence[Any]
"""One link as sent to the relay's process: positions of source and destination, then the fields of LinkState up to
the last that is not its default; chances as [loss, [p, r, loss_bad, loss_good] or null, reorder, jitter_ns] or null."""


def link_state(row: Row) -> LinkState:
    """The state in a row."""
    if len(row) <= 6:
        return LinkState(*row[2:])
    delay_ns, limit_packets, rate_bps, buffer_bytes, chances, *up = row[2:]
    if chances is None:
        return LinkState(delay_ns, limit_packets, rate_bps, buffer_bytes, NONE, *up)
    loss, burst, reorder, jitter_ns = chances
    made = Chances(loss, None if burst is None else BurstLoss(*burst), reorder, jitter_ns)
    return LinkState(delay_ns, limit_packets, rate_bps, buffer_bytes, made, *up)


class Switch:
    """Carries packets between the devices (open TUN descriptors) of numbered nodes."""

    def __init__(self, addresses: Sequence[str], devices: Sequence[int], seed: str, clock: Clock = WALL) -> None:
        self._now_ns = clock.now_ns
        self.line = DelayLine(
            len(devices), seed, ETHERNET_HEADER_BYTES
        )  # TUN packets have none; the other fabrics' rates count it
        self.sources = dict(zip(devices, range(len(devices)), strict=True))  # node of each device that still answers
        self._devices = list(devices)
        nodes = [socket.inet_aton(address) for address in addresses]
        # by source: the node that a source and destination address name, as they stand in the header (RFC 791)
        self._routes = [
            {own + address: index for index, address in enumerate(nodes) if address != own} for own in nodes
        ]
        self._unmatched = 0
        self._undelivered = 0
        self._lateness = Lateness()
        self.longest_pause_ns = 0  # in which packets waited because something was asked

    def receive(self, device: int) -> None:
        """Takes what waits at one device, at most READ_BATCH packets."""
        source = self.sources[device]
        routes, push, read, now_ns = self._routes[source], self.line.push, os.read, self._now_ns
        for _ in range(READ_BATCH):
            try:
                packet = read(device, MTU)
            except BlockingIOError:
                return
            except OSError:  # EBADFD: the node's namespace is gone, and the device with it
                del self.sources[device]
                return
            destination = routes.get(packet[12:20])
            if destination is None or packet[0] >> 4 != 4:
                self._unmatched += 1
            else:
                push(now_ns(), source, destination, packet)

    def deliver(self) -> None:
        """Writes out everything that is due."""
        devices, write, now_ns, add = self._devices, os.write, self._now_ns, self._lateness.add
        for due_ns, _, destination, _, packet in self.line.due(now_ns()):
            try:
                write(devices[destination], packet)
            except OSError:  # EIO: the device is down; EBADFD: it is gone
                self._undelivered += 1
            add(now_ns() - due_ns)

    def update(self, rows: Sequence[Row]) -> Iterator[None]:
        """Gives the links in `rows` their state; pauses after every slice, for packets to pass."""
        remaining = iter(rows)
        while some := list(islice(remaining, SLICE_LINKS)):
            for row in some:
                self.line.set_link(row[0], row[1], link_state(row))
            yield

    def links_from(self, source: int) -> list[tuple[int, int, int, int, int]]:
        """For every link that starts at this node, by position: delay in ns, packets delivered, dropped, lost, cut."""
        pairs = [self.line.pair(source, dst) for dst in range(len(self._devices))]
        return [(pair.state.delay_ns, pair.delivered, pair.dropped, pair.lost, pair.cut) for pair in pairs]

    def totals(self) -> dict[str, Any]:
        return {
            "unmatched": self._unmatched,
            "undelivered": self._undelivered,
            "lateness": self._lateness.summary(),
            "longest_pause_us": self.longest_pause_ns / 1e3,
        }
