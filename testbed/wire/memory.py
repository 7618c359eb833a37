"""The same messages, encoded and decoded by the same framing, between endpoints of one process: for tests.

Each directed link can be given a one-way delay; order per pair is kept, as TCP keeps it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from testbed.wire.framing import Frames, decode, encode
from testbed.wire.messages import Envelope, Message, Ping, Pong
from testbed.wire.transport import Arrival, OnArrival


class MemoryHub:
    """Joins the endpoints of one test. `one_way_ms` maps (sender, receiver) to a delay; missing pairs have none."""

    def __init__(self, one_way_ms: Mapping[tuple[str, str], float] | None = None) -> None:
        self.one_way_ms = dict(one_way_ms or {})
        self.endpoints: dict[str, MemoryEndpoint] = {}

    def endpoint(self, node: str, on_arrival: OnArrival) -> MemoryEndpoint:
        self.endpoints[node] = MemoryEndpoint(self, node, on_arrival)
        return self.endpoints[node]


class MemoryEndpoint:
    """One node's side of a hub; implements `Transport`."""

    def __init__(self, hub: MemoryHub, node: str, on_arrival: OnArrival) -> None:
        self._hub = hub
        self._node = node
        self._on_arrival = on_arrival
        self._frames: dict[str, Frames] = {}
        self._sequence = 0
        self._last_due: dict[str, float] = {}

    def send(self, peer: str, message: Message) -> None:
        receiver = self._hub.endpoints[peer]
        self._sequence += 1
        frame = encode(Envelope(time.monotonic_ns(), self._sequence, message))
        loop = asyncio.get_running_loop()
        due = loop.time() + self._hub.one_way_ms.get((self._node, peer), 0.0) / 1e3
        # the event loop orders equal times arbitrarily: keep the pair strictly in order
        due = max(due, self._last_due.get(peer, 0.0) + 1e-9)
        self._last_due[peer] = due
        loop.call_at(due, receiver._deliver, self._node, frame)

    def peers(self) -> list[str]:
        return sorted(node for node in self._hub.endpoints if node != self._node)

    def _deliver(self, sender: str, frame: bytes) -> None:
        for body in self._frames.setdefault(sender, Frames()).feed(frame):
            envelope = decode(body)
            if isinstance(envelope.message, Ping):
                self.send(sender, Pong(ping_sent_ns=envelope.message.sent_ns))
                continue
            self._on_arrival(Arrival(sender, envelope.message, envelope.sent_ns, time.monotonic_ns(), len(frame)))
