"""Bytes of a framed message, by msgpack's rules for integers and array headers instead of by encoding it.

What does not change during a request, its number and prompt among it, is measured once with the real encoder
(`phase.py`), with every field that varies encoded in one byte. Here is what the rest takes more than that.
"""

from __future__ import annotations

from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import Ints


@compiled
def more_for_int(value: int) -> int:
    """Bytes beyond the first of an integer: fixint, (u)int8, 16, 32, 64 (msgpack specification, int format family)."""
    if value >= 0:
        if value < 1 << 7:
            return 0
        if value < 1 << 8:
            return 1
        if value < 1 << 16:
            return 2
        return 4 if value < 1 << 32 else 8
    if value >= -(1 << 5):
        return 0
    if value >= -(1 << 7):
        return 1
    if value >= -(1 << 15):
        return 2
    return 4 if value >= -(1 << 31) else 8


@compiled
def more_for_tokens(truth: Ints, row: int, count: int) -> int:
    """An array of output tokens beyond an empty one: fixarray, array16 or array32 header, and its elements."""
    size = count + (0 if count < 1 << 4 else 2 if count < 1 << 16 else 4)
    for index in range(row, row + count):
        size += more_for_int(truth[index])
    return size
