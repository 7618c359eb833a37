"""Keys and values of one request, in room that grows with what it holds.

Rule: an entry lies where its position says, so a rewind is nothing but another length, and what is fed next overwrites.
Room grows by half of what it was or more, so that all copies together cost no more than a few times what is held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

STEP = 64  # tokens that room is a multiple of


class Held:
    """`keys` are [layer, head, width, room], as a product with queries reads them; `values` [layer, head, room, width].

    Uninitialised beyond what was written; a pass reads only positions that it or an earlier one wrote.
    """

    def __init__(self, layers: int, heads: int, width: int, dtype: Any) -> None:
        self.keys: Array = np.empty((layers, heads, width, 0), dtype)
        self.values: Array = np.empty((layers, heads, 0, width), dtype)
        self.length = 0

    @property
    def room(self) -> int:
        """Tokens there is room for."""
        return int(self.keys.shape[3])

    def begin(self, other: Held, length: int) -> None:
        """With the first tokens of another store, copied."""
        self.reserve(length)
        self.keys[..., :length] = other.keys[..., :length]
        self.values[:, :, :length] = other.values[:, :, :length]
        self.length = length

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens`; what is held is kept."""
        if tokens <= self.room:
            return
        room = -(-max(tokens, self.room * 3 // 2) // STEP) * STEP
        layers, heads, width, _ = self.keys.shape
        keys = np.empty((layers, heads, width, room), self.keys.dtype)
        values = np.empty((layers, heads, room, width), self.values.dtype)
        keys[..., : self.length] = self.keys[..., : self.length]
        values[:, :, : self.length] = self.values[:, :, : self.length]
        self.keys, self.values = keys, values
