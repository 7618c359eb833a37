"""The one interface every transport offers: send a message to a named peer; arrivals come to one callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from testbed.wire.messages import Message


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A message as it was received, with the times that split a wait into uplink, queue, compute and downlink."""

    sender: str
    message: Message
    sent_ns: int
    received_ns: int
    size_bytes: int


OnArrival = Callable[[Arrival], None]


class Transport(Protocol):
    def send(self, peer: str, message: Message) -> None:
        """Queues the message for `peer`, in order. Raises KeyError for a peer that is not connected."""

    def peers(self) -> list[str]: ...
