"""Whole lines out of a stream of bytes, for every channel that speaks in lines. Knows no descriptor."""

from __future__ import annotations


class Lines:
    """Bytes as they come in, whole lines out, without their ends. A long line costs no more than its length."""

    def __init__(self) -> None:
        self._unfinished = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._unfinished += data
        if b"\n" not in data:
            return []
        *lines, self._unfinished = self._unfinished.split(b"\n")
        return [bytes(line) for line in lines]

    def rest(self) -> bytes:
        """What has come of a line that has no end yet."""
        return bytes(self._unfinished)
