"""Reads of a connection into one buffer that is kept, so that a node's heap does not grow with the messages it gets.

asyncio gives a `Protocol` a new object of 256 KiB for every read and cuts it to what came. What stays of it lies where
the next one would need room, and the C library's heap gains pages as long as messages come.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod

READ_BYTES = 16 * 1024


class Inbox(asyncio.BufferedProtocol):
    """Calls `received` with a view of what came; the view holds something else after the call."""

    def __init__(self) -> None:
        self._inbox = memoryview(bytearray(READ_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox

    def buffer_updated(self, nbytes: int) -> None:
        self.received(self._inbox[:nbytes])

    @abstractmethod
    def received(self, data: memoryview) -> None:
        """Some bytes, in the order in which they were sent."""
