"""Prompt lookup: a drafter without a model, `models: {draft: prompt-lookup}`. It repeats what followed the same words.

The longest end of the text, of at most `LONGEST` tokens, that stood earlier in it is looked for, and what followed it
there is proposed; the latest place first, then earlier ones, then shorter ends (Saxena, Prompt Lookup Decoding, 2023).
A place is believed as its length deserves (`BELIEVED`), which is what entropies and confidences are made of.

It has the methods of a model's runtime (`testbed.models.compute.BatchingRuntime`), so every policy drafts with it as
with a model, and target-only output stays what it is. Rule: what it says depends on the text alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.guard import Guard

Array = np.ndarray[Any, np.dtype[np.float32]]

LOOKUP = "prompt-lookup"
RULE = 1
LONGEST = 3
BELIEVED = {3: 0.8, 2: 0.6, 1: 0.4}  # by tokens that match; how sure the drafter is, no measurement
UNSURE = 0.05  # of the last token coming again, where nothing matches
MOST_CHOICES = 4


def lookup_sha256() -> str:
    """In place of the hash of weights: of this rule. A change of `choices` beyond its numbers is another `RULE`."""
    rule = (LOOKUP, RULE, LONGEST, sorted(BELIEVED.items()), UNSURE, MOST_CHOICES)
    return hashlib.sha256(repr(rule).encode()).hexdigest()


def choices(text: Sequence[int]) -> list[tuple[int, float]]:
    """Tokens that may follow, the likeliest first, with their probabilities; what is left is for all other tokens."""
    found: dict[int, float] = {}
    left = 1.0
    for length in range(min(LONGEST, len(text) - 1), 0, -1):
        end = list(text[-length:])
        for at in range(len(text) - length - 1, -1, -1):
            if text[at] != end[0] or list(text[at : at + length]) != end:
                continue
            token = text[at + length]
            if token not in found:
                found[token] = left * BELIEVED[length]
                left -= found[token]
                if len(found) == MOST_CHOICES:
                    return list(found.items())
    return list(found.items()) or [(text[-1], UNSURE)]


class LookupRuntime:
    """The texts of requests. `rows` is the size of the target's vocabulary."""

    def __init__(self, rows: int) -> None:
        self.guard = Guard(LOOKUP, rows)
        self.can_batch = True
        self.rows: int | None = rows
        self._rows = rows
        self._texts: dict[int, list[int]] = {}

    def forward(self, request: int, position: int, tokens: Sequence[int], last: int = 1) -> Array:
        """As a model's: `tokens` at `position`, logits after each of the last `last`."""
        if not 1 <= last <= len(tokens):
            raise ValueError(f"asked for the logits of {last} of {len(tokens)} fed tokens")
        return self._fed(request, position, tokens, last)

    def forward_tree(self, feed: TreeFeed) -> Array:
        """As a model's."""
        if not feed.tokens:
            raise ValueError("a tree's parent token is fed in the same pass")
        self._fed(feed.request, feed.position, feed.tokens, 0)
        paths: list[list[int]] = []
        for node, parent in zip(feed.nodes, feed.parents, strict=True):
            paths.append([*(paths[parent] if parent >= 0 else []), node])
        text = self._texts[feed.request]
        return np.stack([self._row([*text, *(paths[node] if node >= 0 else [])]) for node in feed.wanted])

    def forward_batch(self, feeds: Sequence[BatchFeed]) -> list[Array]:
        """As a model's: every request on its own."""
        if len({one.request for one in feeds}) != len(feeds):
            raise ValueError("one batch contains a request twice")
        return [self._fed(one.request, one.position, one.tokens, one.last) for one in feeds]

    def length(self, request: int) -> int:
        """Tokens held of a request; 0 for one never seen."""
        return len(self._texts.get(request, ()))

    def release(self, request: int) -> None:
        """Forget a request."""
        self._texts.pop(request, None)

    def begin(self, request: int, other: int, length: int) -> None:
        """A request begins with the first `length` tokens of another one's text."""
        self._texts[request] = self._texts[other][:length]

    def _fed(self, request: int, position: int, tokens: Sequence[int], last: int) -> Array:
        self.guard.fits(tokens, position + len(tokens))
        text = self._texts.setdefault(request, [])
        if not 0 <= position <= len(text):
            raise ValueError(f"request {request}: position {position} is beyond the {len(text)} cached tokens")
        text[position:] = tokens
        rows = [self._row(text[: len(text) - back]) for back in range(last - 1, -1, -1)]
        return np.stack(rows) if rows else np.empty((0, self._rows), np.float32)

    def _row(self, text: Sequence[int]) -> Array:
        """Logits whose softmax is what `choices` says."""
        chosen = choices(text)
        others = (1.0 - sum(share for _, share in chosen)) / max(1, self._rows - len(chosen))
        row = np.zeros(self._rows, np.float32)
        for token, share in chosen:
            row[token] = math.log(share / others)
        return row
