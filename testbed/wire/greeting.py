"""How two nodes of a run know each other: each pair shares a key, and shows it without sending it.

Both sides say Hello with a fresh nonce; then the one that dialled proves the key by an HMAC over both names and both
nonces, and only then the one that listened does. So a stranger learns nothing to repeat: a proof fits one connection
and one side of it, and a node that listens proves nothing before the other side has. Rule kept: without a key a peer
is unknown to a node, and a node cannot pass for another one towards a third. Pure: no sockets here.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SECRET_BYTES = 32
NONCE_BYTES = 16

Side = Literal["dialled", "listened"]


def new_secret() -> bytes:
    """Of one attempt at a run: known to the engine alone, never written down."""
    return os.urandom(SECRET_BYTES)


def new_nonce() -> bytes:
    return os.urandom(NONCE_BYTES)


def keys_of(secret: bytes, node: str, peers: Iterable[str]) -> dict[str, bytes]:
    """What one node is handed: a key for each of its peers, the same that the peer has for it."""
    return {peer: _digest(secret, *sorted((node, peer))) for peer in peers}


@dataclass(frozen=True)
class Greeting:
    """One connection's names and nonces, as both sides see them once both have said Hello."""

    dialled: str
    listened: str
    dialled_nonce: bytes
    listened_nonce: bytes

    def proof(self, key: bytes, side: Side) -> bytes:
        """What the node on this side shows."""
        return _digest(key, side, self.dialled, self.listened, self.dialled_nonce, self.listened_nonce)

    def proven(self, key: bytes, side: Side, shown: bytes) -> bool:
        return hmac.compare_digest(self.proof(key, side), shown)


def _digest(key: bytes, *parts: str | bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) over the parts, each with its length, so that no two lists of parts are one text."""
    text = bytearray()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        text += len(raw).to_bytes(4, "big") + raw
    return hmac.new(key, bytes(text), hashlib.sha256).digest()
