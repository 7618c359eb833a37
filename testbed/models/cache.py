"""One request's key-value cache that can be rewound: the only place that knows the transformers cache API.

Rule: a rewind removes tokens by a negative count (the one form that means the same in every transformers release), and
the length is checked after every change. All layers keep every token, so sliding-window models rewind as well; models
with a recurrent state instead of keys and values cannot be rewound, which trying shows (`testbed.models.selftest`).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any


class RequestCache:
    """Keys and values of the tokens fed so far for one request."""

    def __init__(self) -> None:
        from transformers import DynamicCache

        self.kept: Any = DynamicCache()
        self.beyond = False  # whether its keys were turned as those of a long text are, see `views.Views.turns`

    @property
    def length(self) -> int:
        """Tokens held."""
        return int(self.kept.get_seq_length())

    def copied(self, length: int) -> RequestCache:
        """The first `length` tokens, as a cache of another request's own."""
        other = RequestCache()
        other.kept, other.beyond = deepcopy(self.kept), self.beyond
        other.rewind(length)
        return other

    def rewind(self, length: int) -> None:
        """Forget every token from position `length` on."""
        surplus = self.length - length
        if length < 0 or surplus < 0:
            raise ValueError(f"cannot rewind a cache of {self.length} tokens to {length}")
        if surplus:
            self.kept.crop(-surplus)
        self.expect(length)

    def expect(self, length: int) -> None:
        """Raise unless exactly `length` tokens are held."""
        if self.length != length:
            raise RuntimeError(f"the cache holds {self.length} tokens, not {length}; transformers' cache API changed")
