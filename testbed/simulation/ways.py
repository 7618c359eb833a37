"""How a message of one node gets to another in virtual time: its size as the emulation frames it, its link, its host.

Rule kept: bytes on the wire are those of the emulation's frame, so prompts take as many segments in either engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.tcp.even import Even
from testbed.simulation.tcp.path import Path
from testbed.simulation.tcp.stream import Stream
from testbed.wire.framing import encode
from testbed.wire.messages import Envelope, Message, Open, Ping, Request
from testbed.wire.transport import Arrival

# As late in a run as most messages are: a frame's size depends on its send time and sequence number by a few bytes.
TYPICAL_SENT_NS = 2**40
TYPICAL_SEQUENCE = 2**10
# The messages that may be larger than a segment; the others need no size where none is asked for.
WITH_PROMPT = (Request, Open)

_encode = msgspec.msgpack.Encoder().encode
_ANY = Ping(TYPICAL_SENT_NS)
ENVELOPE_BYTES = len(encode(Envelope(TYPICAL_SENT_NS, TYPICAL_SEQUENCE, _ANY))) - len(_encode(_ANY))


def framed_size(message: Message) -> int:
    """Bytes on the wire, as the emulation frames it."""
    return ENVELOPE_BYTES + len(_encode(message))


PING_BYTES = framed_size(_ANY)


class Constant:
    """A connection's direction over two links that lose nothing and never change."""

    def __init__(self, delay_ns: int, rtt_ns: int) -> None:
        self.delay_ns = delay_ns
        self._even = Even(rtt_ns)

    def arrives_ns(self, now_ns: int, size_bytes: int) -> int:
        """Call in the order of sending."""
        return self._even.leaves_ns(now_ns, size_bytes) + self.delay_ns


Carriers = Mapping[tuple[str, str], Constant | Stream]


def carriers(kernel: Kernel, specs: Mapping[tuple[str, str], LinkSpec], seed: str) -> Carriers:
    """Both directions of every connection; equal seeds give equal fates of packets."""
    made: dict[tuple[str, str], Constant | Stream] = {}
    paths: dict[tuple[str, str], Path] = {}
    for (a, b), there in specs.items():
        back = specs[b, a]
        rtt_ns = there.delay_ns(0) + back.delay_ns(0)
        if there.constant and back.constant:
            made[a, b] = Constant(there.delay_ns(0), rtt_ns)
            continue
        for pair in ((a, b), (b, a)):
            if pair not in paths:
                paths[pair] = Path(specs[pair], f"{seed}/{pair[0]}/{pair[1]}")
        made[a, b] = Stream(kernel, paths[a, b], paths[b, a], rtt_ns)
    return made


class Way:
    """From `src` to who hears it. `sized`: the log wants the sizes of all messages."""

    def __init__(
        self,
        kernel: Kernel,
        carrier: Constant | Stream,
        src: str,
        arrived: Callable[[Arrival], Any],
        overhead_ns: int,
        sized: bool,
    ) -> None:
        self._kernel = kernel
        self._src = src
        self._arrived = arrived
        self._overhead_ns = overhead_ns
        self._stream = carrier if isinstance(carrier, Stream) else None
        self._constant = carrier if isinstance(carrier, Constant) else None
        self._sized = sized or self._stream is not None

    def send(self, message: Message) -> None:
        now_ns = self._kernel.now_ns
        size_bytes = framed_size(message) if self._sized or type(message) in WITH_PROMPT else 0
        if self._constant is not None:
            at_ns = self._constant.arrives_ns(now_ns, size_bytes) + self._overhead_ns
            self._kernel.at(at_ns, self._arrived, Arrival(self._src, message, now_ns, at_ns, size_bytes))
        else:
            assert self._stream is not None
            self._stream.send(size_bytes, self._delivered, (message, now_ns, size_bytes))

    def _delivered(self, what: tuple[Message, int, int]) -> None:
        message, sent_ns, size_bytes = what
        at_ns = self._kernel.now_ns + self._overhead_ns
        # by an event of its own: what the receiver does at this moment does not run inside of TCP
        self._kernel.at(at_ns, self._arrived, Arrival(self._src, message, sent_ns, at_ns, size_bytes))
