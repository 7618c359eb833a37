"""The relay's own process, `python -m testbed.network.relay.process`: a DelayLine between TUN devices.

Standard library only, so it starts at once. It is steered by JSON lines on stdin and answers each with one JSON line on
stdout; the first line configures it. It ends, and with it every TUN device vanishes, on SIGTERM, when stdin closes or
when the parent process is gone, however that died.

Rule it keeps: packets go first. A request is worked off in small steps, and between two of them every packet that has
arrived or is due is looked after.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import os
import select
import signal
import struct
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from testbed.clock.api import NEVER, Clock
from testbed.clock.page import taking_part
from testbed.clock.waiting import GRACE_NS, STANDING_S
from testbed.errors import MachineCannot, TestbedError
from testbed.network.relay.switch import MTU, Switch
from testbed.system.lines import Lines
from testbed.system.linux import precise_timers
from testbed.system.netns import Interface, in_namespace, namespace_of, refuse_ipv6
from testbed.system.rights import give_up
from testbed.system.units import NS_PER_S

TUN_PATH = "/dev/net/tun"
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000  # linux/if_tun.h
QUEUE_PACKETS = 10_000  # of each TUN device: a burst waits for the relay instead of being lost before it is counted
SPIN_NS = 150_000  # an idle virtual CPU wakes a sleeper up to this late: wake so much earlier, and poll
PRIORITY = 10  # SCHED_FIFO: above ordinary processes, below the kernel's own threads (50)


class Control:
    """JSON lines in, JSON lines out; `closed` once the other side is gone."""

    def __init__(self, descriptor_in: int, descriptor_out: int) -> None:
        self.descriptor = descriptor_in
        self.closed = False
        self._out = descriptor_out
        self._lines = Lines()

    def receive(self) -> list[bytes]:
        """One read; the complete requests it ended, not yet decoded."""
        data = os.read(self.descriptor, 1 << 16)
        self.closed = not data
        return self._lines.feed(data)

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
    """The fix for what can go wrong in open_tun."""
    if error.filename == TUN_PATH and error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"{TUN_PATH} is missing; fix: modprobe tun, or mkdir -p /dev/net && mknod {TUN_PATH} c 10 200"
    if error.filename == TUN_PATH:
        return f"{TUN_PATH} may not be opened ({error.strerror}); fix: run as root, or see testbed doctor"
    if error.errno in (errno.EBUSY, errno.EINVAL, errno.EEXIST):
        return f"node {node}: its namespace already has an eth0 or a default route; fix: start it without a network"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"node {node}: no CAP_NET_ADMIN in its network namespace; fix: run as root"
    return f"node {node}: cannot make eth0 in its network namespace ({error})"


def take_precedence() -> str:
    """Timer slack and priority of this process, as far as the machine allows; says which priority it got."""
    precise_timers()
    gc.disable()  # the relay makes no cycles; a collection would only be a pause
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        return "SCHED_OTHER"
    return f"SCHED_FIFO {PRIORITY}"


def answers(switch: Switch, line: bytes) -> Iterator[Mapping[str, Any] | None]:
    """The one reply to a request, last; None for each step on the way."""
    request = json.loads(line)
    verb = request["verb"]
    if verb == "update":
        yield from switch.update(request["links"])
        yield {"updated": len(request["links"])}
    elif verb == "links":
        yield {"links": switch.links_from(request["source"])}
    elif verb == "totals":
        yield switch.totals()
    else:
        yield {"error": f"unknown verb {verb!r}"}


class Waiting:
    """How long to sleep before the next departure, which the clock does not pass until the packet has left."""

    def __init__(self, switch: Switch, clock: Clock) -> None:
        self._switch = switch
        self._clock = clock
        self._before = -1

    def wait_s(self) -> float:
        """Until shortly before the next departure; 0 to poll, as long as the clock runs."""
        due_ns = self._switch.line.next_due_ns()
        if due_ns is None:
            self._clock.set_barrier(NEVER)
            return 1.0
        self._clock.set_barrier(due_ns + GRACE_NS)
        now = self._clock.now_ns()
        left_ns = self._clock.wall_ns(due_ns - now) - SPIN_NS
        stands, self._before = now == self._before, now
        return max(left_ns / NS_PER_S, STANDING_S if stands else 0.0)


def carry(switch: Switch, control: Control, parent: int, clock: Clock) -> None:
    """The loop: deliver what is due, take what has arrived, one step of what is asked; sleep when there is nothing."""
    work: deque[Iterator[Mapping[str, Any] | None]] = deque()
    waiting = Waiting(switch, clock)
    while True:
        switch.deliver()
        wait_s = waiting.wait_s()
        # select, because poll and epoll as Python offers them round the wait up to whole milliseconds
        awaited = [control.descriptor, parent, *switch.sources]
        for descriptor in select.select(awaited, (), (), 0 if work else wait_s)[0]:
            if descriptor == parent:
                return
            if descriptor != control.descriptor:
                switch.receive(descriptor)
                continue
            work.extend(answers(switch, line) for line in control.receive())
            if control.closed:
                return
        if work:
            started_ns = clock.now_ns()
            if (reply := next(work[0])) is not None:
                work.popleft()
                control.send(reply)
            switch.longest_pause_ns = max(switch.longest_pause_ns, clock.now_ns() - started_ns)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    control = Control(sys.stdin.fileno(), sys.stdout.fileno())
    received: list[bytes] = []
    while not received and not control.closed:
        received = control.receive()
    if not received:
        return 0
    config = json.loads(received[0])
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
        except MachineCannot as error:
            control.send({"error": str(error)})
            return 4
    try:
        clock = taking_part(config["clock"], "relay")
    except TestbedError as error:
        control.send({"error": str(error)})
        return error.exit_code
    switch = Switch([port["address"] for port in config["ports"]], devices, config["seed"], clock)
    priority = take_precedence()
    give_up()
    control.send({"priority": priority})
    carry(switch, control, parent, clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
