"""The relay's own process, `python -m testbed.network.relay_process`: a DelayLine between TUN devices.

Standard library only, so it starts at once. It is steered by JSON lines on stdin and answers each with one JSON line on
stdout; the first line configures it. It ends, and with it every TUN device vanishes, on SIGTERM, when stdin closes or
when the parent process is gone, however that died.

Rules it keeps: a packet that belongs to no link (unknown destination, foreign source, not IPv4) is dropped and counted
as unmatched, never delivered; the lateness of every delivery is recorded.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.network.relay_lateness import Lateness
from testbed.network.relay_netns import Interface, in_namespace, namespace_of, refuse_ipv6
from testbed.network.relay_queue import NS_PER_S, DelayLine, LinkState

TUN_PATH = "/dev/net/tun"
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000  # linux/if_tun.h
PR_SET_TIMERSLACK = 29  # linux/prctl.h
MTU = 1500
ETHERNET_HEADER_BYTES = 14  # TUN packets have none, but the rates of the other fabrics count it
QUEUE_PACKETS = 10_000  # of each TUN device: a burst waits for the relay instead of being lost before it is counted
READ_BATCH = 16  # packets taken from one device before departures are looked at again
SPIN_NS = 150_000  # an idle virtual CPU wakes a sleeper up to this late: wake so much earlier, and poll
PRIORITY = 10  # SCHED_FIFO: above ordinary processes, below the kernel's own threads (50)


class Relay:
    """Carries packets between the TUN devices of numbered nodes."""

    def __init__(self, addresses: Sequence[str], devices: Sequence[int], seed: str) -> None:
        self.line = DelayLine(len(devices), seed, ETHERNET_HEADER_BYTES)
        self.sources = dict(zip(devices, range(len(devices)), strict=True))  # node of each device that still answers
        self._devices = list(devices)
        self._nodes = {socket.inet_aton(address): index for index, address in enumerate(addresses)}
        self._unmatched = 0
        self._undelivered = 0
        self._lateness = Lateness()

    def receive(self, device: int) -> None:
        """Takes what waits at one device, at most READ_BATCH packets."""
        source = self.sources[device]
        for _ in range(READ_BATCH):
            try:
                packet = os.read(device, MTU)
            except BlockingIOError:
                return
            except OSError:  # EBADFD: the node's namespace is gone, and the device with it
                del self.sources[device]
                return
            destination = self._nodes.get(packet[16:20])  # IPv4 header, RFC 791: source at 12, destination at 16
            from_its_own = self._nodes.get(packet[12:16]) == source
            if packet[0] >> 4 != 4 or destination is None or destination == source or not from_its_own:
                self._unmatched += 1
                continue
            self.line.push(time.monotonic_ns(), source, destination, packet)

    def deliver(self) -> None:
        """Writes out everything that is due."""
        for due_ns, _, _, destination, packet in self.line.due(time.monotonic_ns()):
            try:
                os.write(self._devices[destination], packet)
            except OSError:  # EIO: the device is down; EBADFD: it is gone
                self._undelivered += 1
            self._lateness.add(time.monotonic_ns() - due_ns)

    def shape(self, links: Sequence[Sequence[Any]]) -> None:
        for src, dst, *state in links:
            self.line.set_link(src, dst, LinkState(*state))

    def report(self) -> dict[str, Any]:
        nodes = range(len(self._devices))
        pairs = [(src, dst) for src in nodes for dst in nodes if src != dst]
        line = self.line
        return {
            "links": [
                (src, dst, line.link(src, dst).delay_ns, line.delivered(src, dst), line.dropped(src, dst))
                for src, dst in pairs
            ],
            "unmatched": self._unmatched,
            "undelivered": self._undelivered,
            "lateness": self._lateness.summary(),
        }


class Control:
    """JSON lines in, JSON lines out; `closed` once the other side is gone."""

    def __init__(self, descriptor_in: int, descriptor_out: int) -> None:
        self.descriptor = descriptor_in
        self.closed = False
        self._out = descriptor_out
        self._pending = b""

    def receive(self) -> list[dict[str, Any]]:
        """One read; the complete requests it ended."""
        data = os.read(self.descriptor, 1 << 16)
        self.closed = not data
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def send(self, reply: Mapping[str, Any]) -> None:
        data = json.dumps(reply).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more: end of input says so next
            while data:
                data = data[os.write(self._out, data) :]


def open_tun(port: Mapping[str, Any]) -> int:
    """Makes `eth0` in the namespace of the port's process; the device lives as long as the returned descriptor."""

    def create() -> int:
        refuse_ipv6()
        device = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TUN | IFF_NO_PI))
        with Interface("lo") as loopback:
            loopback.bring_up()
        with Interface("eth0") as interface:
            interface.set_mtu(MTU)
            interface.set_queue(QUEUE_PACKETS)
            interface.set_host_address(port["address"])
            interface.bring_up()
            interface.set_default_route()
        return device

    namespace = namespace_of(port["pid"])
    try:
        return in_namespace(namespace, create)
    finally:
        os.close(namespace)


def explain(error: OSError, node: str) -> str:
    """The mend for what can go wrong in open_tun."""
    if error.filename == TUN_PATH and error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"{TUN_PATH} is missing; mend: modprobe tun, or mkdir -p /dev/net && mknod {TUN_PATH} c 10 200"
    if error.filename == TUN_PATH:
        return f"{TUN_PATH} may not be opened ({error.strerror}); mend: run as root, or chmod 0666 {TUN_PATH}"
    if error.errno in (errno.EBUSY, errno.EINVAL, errno.EEXIST):
        return f"node {node}: its namespace already has an eth0 or a default route; mend: start it without a network"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"node {node}: no CAP_NET_ADMIN in its network namespace; mend: run as root"
    return f"node {node}: cannot make eth0 in its network namespace ({error})"


def take_precedence() -> str:
    """Timer slack and priority of this process, as far as the machine allows; says which priority it got."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    gc.disable()  # the relay makes no cycles; a collection would only be a pause
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        return "SCHED_OTHER"
    return f"SCHED_FIFO {PRIORITY}"


def answer(relay: Relay, request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request["verb"] == "shape":
        relay.shape(request["links"])
        return {"shaped": len(request["links"])}
    if request["verb"] == "report":
        return relay.report()
    return {"error": f"unknown verb {request['verb']!r}"}


def carry(relay: Relay, control: Control, parent: int) -> None:
    """The loop: deliver what is due, answer what is asked, sleep until shortly before the next departure."""
    while True:
        relay.deliver()
        next_due_ns = relay.line.next_due_ns()
        wait_ns = NS_PER_S if next_due_ns is None else next_due_ns - SPIN_NS - time.monotonic_ns()
        # select, because poll and epoll as Python offers them round the wait up to whole milliseconds
        ready = select.select([control.descriptor, parent, *relay.sources], (), (), max(wait_ns, 0) / NS_PER_S)[0]
        for descriptor in ready:
            if descriptor == parent:
                return
            if descriptor != control.descriptor:
                relay.receive(descriptor)
                continue
            for request in control.receive():
                control.send(answer(relay, request))
            if control.closed:
                return


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    control = Control(sys.stdin.fileno(), sys.stdout.fileno())
    received: list[dict[str, Any]] = []
    while not received and not control.closed:
        received = control.receive()
    if not received:
        return 0
    config = received[0]
    parent = os.pidfd_open(config["parent"])
    if os.getppid() != config["parent"]:  # it died before the line above, and its number may be another process's
        return 0
    devices = []
    for port in config["ports"]:
        try:
            devices.append(open_tun(port))
        except OSError as error:
            control.send({"error": explain(error, port["node"])})
            return 4
    relay = Relay([port["address"] for port in config["ports"]], devices, config["seed"])
    control.send({"priority": take_precedence()})
    carry(relay, control, parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
