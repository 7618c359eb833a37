"""Waiting for a descriptor with poll(2): select(2) takes none above 1023, and a run of 250 nodes has more."""

from __future__ import annotations

import select


def readable(descriptor: int, patience_s: float) -> bool:
    """Whether there is something to read, or an end, within this time. Rounded up to whole milliseconds."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(patience_s * 1e3))
