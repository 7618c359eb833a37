"""Bytes in, envelopes out: 4-byte big-endian length, then msgpack. No sockets here: tested without a network."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from testbed.errors import TestbedError
from testbed.wire.messages import Envelope

HEADER_BYTES = 4
MAX_GREETING_BYTES = 512  # before a peer has proven who it is: a name of at most 255 bytes and a nonce, or a proof
MAX_FRAME_BYTES = 16 * 1024 * 1024  # a prompt is kilobytes; anything near this is a broken or hostile peer

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


class ProtocolError(TestbedError):
    """The peer sent something that is not a frame of this protocol."""


def encode(envelope: Envelope) -> bytes:
    """One frame, header included. Raises ProtocolError when it would exceed MAX_FRAME_BYTES."""
    body = _encoder.encode(envelope)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"message of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class Framer:
    """Collects bytes as they come and yields (envelope, framed size) for every complete frame.

    `limit` may be changed between two frames: little is taken from who has not shown who it is.
    """

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[Envelope, int]]:
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if length > self.limit:
                raise ProtocolError(f"sent a frame of {length} bytes, over the limit of {self.limit}")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            try:
                envelope = _decoder.decode(body)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text not in UTF-8
                raise ProtocolError(f"sent a frame that is not a message of this protocol: {error}") from error
            yield envelope, end
