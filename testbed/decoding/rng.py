"""Random draws keyed by what they decide, never by batch slot, call order or time.

The same (seed, request, position, stream) gives the same number on every machine and in both engines, so neither
batching nor a slower link can change an output. A position is settled once, so each draw decides at most one emitted
token.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Literal

Stream = Literal["target", "draft", "accept", "residual", "arrival", "request-seed", "pass-time", "route"]

_MANTISSA_BITS = 53  # of an IEEE 754 double: every value drawn is exact


def uniform(seed: int, request: int, position: int, stream: Stream) -> float:
    """One number in [0, 1) for this decision."""
    key = struct.pack("<qqq", seed, request, position) + stream.encode()
    word = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
    return float((word >> (64 - _MANTISSA_BITS)) / (1 << _MANTISSA_BITS))


def device_seed(seed: int, repeat: int, node: str) -> int:
    """Of what a node's device draws in one trial: the same for every policy, whose jobs then meet the same device."""
    key = struct.pack("<qq", seed, repeat) + f"device/{node}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> (64 - _MANTISSA_BITS)


def request_seed(seed: int, index: int, repeat: int) -> int:
    """The seed of one request of a run: by its place in the prompt set and its repeat, the same for every policy."""
    return int(uniform(seed, index, repeat, "request-seed") * 2**_MANTISSA_BITS)
