"""How a message of one node gets to another in virtual time: its size as the emulation frames it, its link, its host.

Rule kept: bytes on the wire are those of the emulation's frame, so links with a rate carry as much in either engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from testbed.simulation.kernel import Kernel
from testbed.simulation.links import SimulatedLink
from testbed.wire.framing import encode
from testbed.wire.messages import Envelope, Message, Ping
from testbed.wire.transport import Arrival

# As late in a run as most messages are: a frame's size depends on its send time and sequence number by a few bytes.
TYPICAL_SENT_NS = 2**40
TYPICAL_SEQUENCE = 2**10

_encode = msgspec.msgpack.Encoder().encode
_ANY = Ping(TYPICAL_SENT_NS)
ENVELOPE_BYTES = len(encode(Envelope(TYPICAL_SENT_NS, TYPICAL_SEQUENCE, _ANY))) - len(_encode(_ANY))


def framed_size(message: Message) -> int:
    """Bytes on the wire, as the emulation frames it."""
    return ENVELOPE_BYTES + len(_encode(message))


PING_BYTES = framed_size(_ANY)


class Way:
    """From `src` over a link to who hears it. `sized`: the log wants sizes; a link with a rate needs them anyway."""

    def __init__(
        self,
        kernel: Kernel,
        link: SimulatedLink,
        src: str,
        arrived: Callable[[Arrival], Any],
        overhead_ns: int,
        sized: bool,
    ) -> None:
        self._kernel = kernel
        self._link = link
        self._src = src
        self._arrived = arrived
        self._overhead_ns = overhead_ns
        self._sized = sized or link.spec.rate_bps is not None
        self._constant_ns = link.constant_ns

    def send(self, message: Message) -> None:
        now_ns = self._kernel.now_ns
        size_bytes = framed_size(message) if self._sized else 0
        if self._constant_ns is not None:
            at_ns = now_ns + self._constant_ns + self._overhead_ns
        else:
            arrival_ns = self._link.arrival_ns(now_ns, size_bytes)
            if arrival_ns is None:
                return
            at_ns = arrival_ns + self._overhead_ns
        self._kernel.at(at_ns, self._arrived, Arrival(self._src, message, now_ns, at_ns, size_bytes))
