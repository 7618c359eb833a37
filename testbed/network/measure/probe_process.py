"""The measuring process of `probe`: one loop that sends, echoes and receives for all nodes, with one clock.

It opens one UDP socket in every node's network namespace (a socket stays in the namespace it was made in) and then
works from a single thread, with real-time priority where allowed. Because all nodes share the kernel's clock, a
packet's one-way delay is its receiving kernel's time stamp minus the time it was sent: no synchronisation needed. Both
are on the run's clock, which stands while it is held.

Standard input: the question as JSON (see `probe`); standard output: for every pair the list of its probes'
[forward_ns, backward_ns]. Uses the standard library only, to start at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from testbed.clock.api import NEVER, Clock
from testbed.clock.page import taking_part
from testbed.clock.waiting import GRACE_NS, left_s
from testbed.system.linux import CLONE_NEWNET, SO_TIMESTAMPNS, TIMESPEC, precise_timers
from testbed.system.rights import give_up
from testbed.system.units import NS_PER_S

PRIORITY = 5  # SCHED_FIFO; below a shaper's own, so that measuring never delays what it measures

REQUEST, REPLY = 0, 1
# token of the measurement, kind, pair, number of the probe, time sent, forward delay (in replies); ns
PACKET = struct.Struct("!QBIIqq")

Address = tuple[str, int]


def main() -> None:
    question = json.load(sys.stdin)
    be_prompt()
    sockets = [socket_in(node["pid"], node["address"], question["port"]) for node in question["nodes"]]
    clock = taking_part(question["clock"], "probe")
    give_up()
    gc.disable()
    json.dump(_measure(question, sockets, clock), sys.stdout)


def _measure(question: dict[str, Any], sockets: list[socket.socket], clock: Clock) -> list[list[tuple[int, int]]]:
    pairs: list[tuple[int, int]] = [(src, dst) for src, dst in question["pairs"]]
    addresses: list[Address] = [(node["address"], question["port"]) for node in question["nodes"]]
    sources = [addresses[src] for src, _ in pairs]
    token, strange, stamps = new_token(), Strange(), Stamps(clock)
    legs: list[list[tuple[int, int]]] = [[] for _ in pairs]
    interval: int = question["interval_ns"]
    total = question["count"] * len(pairs)
    start = clock.now_ns() + 10_000_000
    poller = select.epoll()
    by_descriptor = {sock.fileno(): sock for sock in sockets}
    for descriptor in by_descriptor:
        poller.register(descriptor, select.EPOLLIN)

    def due(number: int) -> int:
        """Probes of all pairs interleave evenly over each interval."""
        return start + (number // len(pairs)) * interval + (number % len(pairs)) * interval // len(pairs)

    sent, end = 0, due(total - 1) + question["patience_ns"] if total else start
    received = 0
    while received < total and (now := clock.now_ns()) < end:
        if sent < total and now >= due(sent):
            pair = sent % len(pairs)
            src, dst = pairs[pair]
            stamps.send(sockets[src], partial(request, token, pair, sent // len(pairs)), addresses[dst])
            sent += 1
            continue
        wake = due(sent) if sent < total else end
        for descriptor, _ in poller.poll(left_s(clock, wake)):
            for pair, _, forward_ns, backward_ns in replies(by_descriptor[descriptor], token, sources, strange, stamps):
                legs[pair].append((forward_ns, backward_ns))
                received += 1
    return legs


def new_token() -> int:
    """What tells a measurement's packets from any other's, and what a stranger cannot guess."""
    return int.from_bytes(os.urandom(8))


class Strange:
    """How many packets belonged to no probe: strangers', or kept by a full buffer since an earlier measurement."""

    def __init__(self) -> None:
        self.count = 0


class Stamps:
    """The run's clock, and what it showed when the kernel took a packet in: its time stamps are of CLOCK_REALTIME."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def send(self, sock: socket.socket, packet: Callable[[int], bytes], address: Address) -> int:
        """A packet made with the time at which it leaves: the clock waits until it has. Returns that time."""
        now_ns = self.clock.now_ns()
        self.clock.set_barrier(now_ns + GRACE_NS)
        sock.sendto(packet(now_ns), address)
        self.clock.set_barrier(NEVER)
        return now_ns

    def of(self, stamp: bytes) -> int:
        seconds, nanoseconds = TIMESPEC.unpack(stamp)
        ago_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - (seconds * NS_PER_S + nanoseconds)
        return self.clock.at_ns(time.monotonic_ns() - ago_ns)


def request(token: int, pair: int, number: int, now_ns: int) -> bytes:
    """A probe that leaves now."""
    return PACKET.pack(token, REQUEST, pair, number, now_ns, 0)


def _reply(token: int, pair: int, number: int, delay_ns: int, now_ns: int) -> bytes:
    return PACKET.pack(token, REPLY, pair, number, now_ns, delay_ns)


def replies(
    sock: socket.socket, token: int, sources: Sequence[Address], strange: Strange, stamps: Stamps
) -> Iterator[tuple[int, int, int, int]]:
    """Takes everything that waits on one socket: echoes requests to their pair's source, yields replies.

    A reply is (pair, number, forward_ns, backward_ns). What has not our length and token is counted, and not answered.
    """
    while True:
        try:
            # a byte more than ours has, so that a longer one shows
            data, ancillary, _, _ = sock.recvmsg(PACKET.size + 1, socket.CMSG_SPACE(TIMESPEC.size))
        except BlockingIOError:
            return
        if len(data) != PACKET.size or PACKET.unpack(data)[0] != token:
            strange.count += 1
            continue
        _, kind, pair, number, sent_ns, forward_ns = PACKET.unpack(data)
        delay_ns = stamps.of(ancillary[0][2]) - sent_ns
        if kind == REQUEST:
            stamps.send(sock, partial(_reply, token, pair, number, delay_ns), sources[pair])
        else:
            yield pair, number, forward_ns, delay_ns


def be_prompt() -> None:
    """Real-time priority and no timer slack, where this machine allows it."""
    precise_timers()
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))


def socket_in(pid: int, address: str, port: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net") as namespace:  # noqa: PTH123  # a descriptor is what is wanted
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to the namespace of pid {pid}")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((address, port))
    return sock


if __name__ == "__main__":
    main()
