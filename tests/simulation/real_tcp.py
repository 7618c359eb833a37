"""Messages over real TCP connections between two shaped namespaces, and the same ones over simulated connections."""

from __future__ import annotations

import heapq
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import mean

from testbed.network.spec.fabric import Link, Port
from testbed.network.spec.schedule import PairSchedule
from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.tcp.path import Path
from testbed.simulation.tcp.stream import Stream
from testbed.wire.connection import tune
from tests.network.relay_lab_helpers import tcp_listener, within

MS = 1_000_000
PORT = 9017
HEAD = struct.Struct("!IIq")  # number, bytes in all, when it was sent
QUIET_S = 6.0
Message = tuple[float, int]  # when, in ms; bytes


def real_delays_ms(ports: Sequence[Port], plans: Sequence[Sequence[Message]]) -> list[list[float]]:
    """A connection for each plan: how long each message took from the first node to the second, in milliseconds."""
    with connections(ports, len(plans)) as pairs:
        selector = selectors.DefaultSelector()
        for index, (_, receiver) in enumerate(pairs):
            receiver.setblocking(False)
            selector.register(receiver, selectors.EVENT_READ, index)
        due = [(at_ms, index, number) for index, plan in enumerate(plans) for number, (at_ms, _) in enumerate(plan)]
        heapq.heapify(due)
        held = [bytearray() for _ in plans]
        found = [[-1.0] * len(plan) for plan in plans]
        left, start_ns = len(due), time.monotonic_ns() + 50 * MS
        heard_s = time.monotonic()
        while left and time.monotonic() < heard_s + QUIET_S:
            now_ms = (time.monotonic_ns() - start_ns) / MS
            while due and due[0][0] <= now_ms:
                _, index, number = heapq.heappop(due)
                size = plans[index][number][1]
                pairs[index][0].sendall(HEAD.pack(number, size, time.monotonic_ns()) + bytes(size - HEAD.size))
                heard_s = time.monotonic()
            wait_s = max(0.0, (due[0][0] - now_ms) / 1e3) if due else 0.1
            for key, _ in selector.select(wait_s):
                data = held[key.data]
                data += key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                now_ns = time.monotonic_ns()
                while len(data) >= HEAD.size:
                    number, size, sent_ns = HEAD.unpack_from(data)
                    if len(data) < size:
                        break
                    del data[:size]
                    found[key.data][number] = (now_ns - sent_ns) / MS
                    left -= 1
                    heard_s = time.monotonic()
    assert not left, f"{left} messages did not arrive"
    return found


@contextmanager
def connections(ports: Sequence[Port], count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """As the nodes tune theirs, with nine round trips behind them."""
    with ExitStack() as stack:
        listening = stack.enter_context(tcp_listener(ports[1], PORT))
        pairs = []
        for _ in range(count):
            sender = stack.enter_context(within(ports[0], lambda: socket.create_connection((ports[1].address, PORT))))
            receiver = stack.enter_context(listening.accept()[0])
            tune(sender), tune(receiver)
            pairs.append((sender, receiver))
        for _ in range(9):
            for there, back in ((0, 1), (1, 0)):
                for pair in pairs:
                    pair[there].sendall(b"p")
                for pair in pairs:
                    pair[back].recv(1)
        yield pairs


def simulated_delays_ms(there: Link, back: Link, plans: Sequence[Sequence[Message]], seed: int) -> list[list[float]]:
    """The same messages, each connection over paths of its own."""
    found = []
    for index, plan in enumerate(plans):
        kernel = Kernel()
        specs = [LinkSpec.of(link, PairSchedule(), "test") for link in (there, back)]
        out, home = (Path(spec, f"{seed}/{index}/{way}") for way, spec in enumerate(specs))
        stream = Stream(kernel, out, home, specs[0].delay_ns(0) + specs[1].delay_ns(0))
        found.append(_delays_ms(kernel, stream, plan))
    return found


def _delays_ms(kernel: Kernel, stream: Stream, plan: Sequence[Message]) -> list[float]:
    delays = [-1.0] * len(plan)

    def arrived(number: int) -> None:
        delays[number] = kernel.now_ns / MS - plan[number][0]

    def say(number: int) -> None:
        stream.send(plan[number][1], arrived, number)

    for number, (at_ms, _) in enumerate(plan):
        kernel.at(round(at_ms * MS), say, number)
    kernel.run()
    assert min(delays) >= 0
    return delays


def mean_ms(delays: Sequence[Sequence[float]]) -> float:
    return mean(one for each in delays for one in each)


def late_share(delays: Sequence[Sequence[float]], limit_ms: float) -> float:
    return mean(one > limit_ms for each in delays for one in each)
