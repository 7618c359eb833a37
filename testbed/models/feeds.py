"""What models are fed besides a request's next tokens: one of many requests in a pass, or a tree below a text.

Every runtime (`testbed.models.compute.Runtime`) takes the same two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from testbed.decoding.tree import depths


class BatchFeed(NamedTuple):
    """Crop the request to `position`, feed `tokens`, give the logits after each of the last `last` (0: none)."""

    request: int
    position: int
    tokens: Sequence[int]
    last: int = 1


class TreeFeed(NamedTuple):
    """Feed `tokens` at `position` and a tree of `nodes` below the last of them; only `tokens` stay in the cache.

    A parent is an index of an earlier node, or -1 for the last token, and so is each of `wanted`, whose logits are
    asked for. A node attends to the text, to its ancestors and to itself, and its position is that of its depth: its
    logits are those of its own path.
    """

    request: int
    position: int
    tokens: Sequence[int]
    nodes: Sequence[int]
    parents: Sequence[int]
    wanted: Sequence[int]

    @property
    def text(self) -> int:
        """Where the text ends."""
        return self.position + len(self.tokens)

    @property
    def places(self) -> list[int]:
        """The position of each token and node."""
        if not self.tokens:
            raise ValueError("a tree's parent token is fed in the same pass")
        return [*range(self.position, self.text), *(self.text + depth - 1 for depth in depths(self.parents))]

    @property
    def rows(self) -> list[int]:
        """Which of the tokens and nodes are wanted, by their order in the pass."""
        return [len(self.tokens) + node for node in self.wanted]
