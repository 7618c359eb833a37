"""Frames: a 4-byte big-endian length, then so many bytes. Between nodes they are envelopes in msgpack.

The one text of it, for the wire, for model workers and for files of rows. No sockets here: tested without a network.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from testbed.errors import TestbedError
from testbed.wire.messages import Envelope

HEADER_BYTES = 4
MOST_BYTES = (1 << 8 * HEADER_BYTES) - 1  # that a header can say
MAX_GREETING_BYTES = 512  # before a peer has proven who it is: a name of at most 255 bytes and a nonce, or a proof
MAX_FRAME_BYTES = 16 * 1024 * 1024  # a prompt is kilobytes; anything near this is a broken or hostile peer

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


class ProtocolError(TestbedError):
    """The peer sent something that is not a frame of this protocol."""


def framed(body: bytes) -> bytes:
    """One frame, header included."""
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def encode(envelope: Envelope) -> bytes:
    """A message as a frame. Raises ProtocolError when it would exceed MAX_FRAME_BYTES."""
    body = _encoder.encode(envelope)
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"message of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return framed(body)


def decode(body: bytes) -> Envelope:
    """The message of a frame's body."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text not in UTF-8
        raise ProtocolError(f"sent a frame that is not a message of this protocol: {error}") from error


class Frames:
    """Bytes as they come in, whole frames' bodies out.

    `limit` may be changed between two frames: little is taken from who has not shown who it is.
    """

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
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
            yield body
