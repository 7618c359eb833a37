"""Requests of a lean decoder: the methods of `testbed.models.batch.BatchRuntime`, one store per request.

Rule: as there, what is returned depends on the tokens before `position` and the tokens fed, never on what was fed and
rewound before, nor on what else is in the batch. Single, tree and batched passes are one and the same code, so a
request may go from one to another. Long feeds are cut, so memory beyond what is held stays bounded.

Logits are numpy arrays: nothing that reads them needs a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from testbed.decoding.tree import visible
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.guard import Guard
from testbed.models.lean.decoder import Decoder, LeanFeed, causal
from testbed.models.lean.held import Held

Array = np.ndarray[Any, np.dtype[Any]]
MOST_ROWS = 512  # of one pass


class LeanRuntime:
    """Separate caches over a decoder that others may share."""

    def __init__(self, decoder: Decoder, guard: Guard | None = None) -> None:
        self.guard = guard or Guard()
        self._decoder = decoder
        self._held: dict[int, Held] = {}
        self._causal = causal(8, decoder.dtype)

    @property
    def can_batch(self) -> bool:
        """Whether batched passes are right, as far as is known."""
        return "batch" not in self.guard.refused

    @property
    def rows(self) -> int | None:
        """Tokens that the model knows."""
        return self.guard.rows

    def forward(self, request: int, position: int, tokens: Sequence[int], last: int = 1) -> Array:
        """Feed `tokens` at `position`, forgetting what was cached from there on.

        Returns the logits after each of the last `last` fed tokens, [last, vocabulary].
        """
        if not 1 <= last <= len(tokens):
            raise ValueError(f"asked for the logits of {last} of {len(tokens)} fed tokens")
        self.guard.fits(tokens, position + len(tokens))
        held = self._at(request, position)
        if len(tokens) > MOST_ROWS:
            return self._passes([(held, position, tokens, last)])[0]
        held.reserve(position + len(tokens))
        logits = self._run([self._feed(held, position, tokens)], slice(len(tokens) - last, None))
        held.length = position + len(tokens)
        return logits

    def forward_tree(self, feed: TreeFeed) -> Array:
        """As `testbed.models.runtime.CausalRuntime.forward_tree`."""
        places = feed.places
        self.guard.allows("tree")
        self.guard.fits([*feed.tokens, *feed.nodes], max(places) + 1)
        held = self._at(feed.request, feed.position)
        if (early := len(feed.tokens) - max(1, MOST_ROWS - len(feed.nodes))) > 0:
            self._passes([(held, feed.position, feed.tokens[:early], 0)])
            feed, places = feed._replace(position=feed.position + early, tokens=feed.tokens[early:]), places[early:]
        tokens = len(feed.tokens)
        total = tokens + len(feed.nodes)
        held.reserve(feed.position + total)
        hidden = np.array(self._below(total))
        hidden[tokens:, tokens:] = np.where(visible(feed.parents), 0, -np.inf)
        logits = self._run([LeanFeed(held, feed.position, [*feed.tokens, *feed.nodes], places, hidden)], feed.rows)
        held.length = feed.text
        return logits

    def forward_batch(self, feeds: Sequence[BatchFeed]) -> list[Array]:
        """Logits [last, vocabulary] of each feed, in order. One pass, or a few where many tokens are fed."""
        if len({one.request for one in feeds}) != len(feeds):
            raise ValueError("one batch contains a request twice")
        for one in feeds:
            if not 0 <= one.last <= len(one.tokens) or not one.tokens:
                raise ValueError(f"asked for the logits of {one.last} of {len(one.tokens)} fed tokens")
            self.guard.fits(one.tokens, one.position + len(one.tokens))
        self.guard.allows("batch")
        work = [(self._at(one.request, one.position), one.position, one.tokens, one.last) for one in feeds]
        return self._passes(work)

    def length(self, request: int) -> int:
        """Cached tokens of a request; 0 for one never seen."""
        held = self._held.get(request)
        return held.length if held is not None else 0

    def release(self, request: int) -> None:
        """Forget a request."""
        self._held.pop(request, None)

    def begin(self, request: int, other: int, length: int) -> None:
        """A request begins with the first `length` tokens that are cached of another one."""
        source = self._held.get(other)
        if source is None or length > source.length:
            raise ValueError(f"request {request}: request {other} has {self.length(other)} tokens cached, not {length}")
        held = self._decoder.held()
        held.begin(source, length)
        self._held[request] = held

    def _passes(self, work: Sequence[tuple[Held, int, Sequence[int], int]]) -> list[Array]:
        """Feeds of (store, position, tokens, rows wanted), in passes of at most `MOST_ROWS` rows."""
        answers: list[list[Array]] = [[] for _ in work]
        share: list[tuple[int, LeanFeed, int]] = []  # of the pass under way: whose, what, rows wanted
        rows = 0

        def finish() -> None:
            nonlocal rows
            wanted: list[int] = []
            first = 0
            for _, feed, keep in share:
                first += len(feed.tokens)
                wanted += range(first - keep, first)
            logits = self._run([feed for _, feed, _ in share], wanted)
            at = 0
            for index, feed, keep in share:
                feed.held.length = feed.at + len(feed.tokens)
                answers[index].append(logits[at : at + keep])
                at += keep
            share.clear()
            rows = 0

        for index, (held, position, tokens, last) in enumerate(work):
            held.reserve(position + len(tokens))
            at = 0
            while at < len(tokens):
                size = min(len(tokens) - at, MOST_ROWS - rows)
                keep = max(0, min(size, at + size - (len(tokens) - last)))
                share.append((index, self._feed(held, position + at, tokens[at : at + size]), keep))
                rows, at = rows + size, at + size
                if rows == MOST_ROWS:
                    finish()
        if share:
            finish()
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in answers]

    def _run(self, feeds: Sequence[LeanFeed], wanted: Sequence[int] | slice) -> Array:
        """One pass. Logits leave here and nowhere else."""
        logits = self._decoder(feeds, wanted)
        self.guard.numbers(logits)
        return logits

    def _feed(self, held: Held, position: int, tokens: Sequence[int]) -> LeanFeed:
        count = len(tokens)
        hidden = self._below(count) if count > 1 else None
        return LeanFeed(held, position, tokens, range(position, position + count), hidden)

    def _below(self, count: int) -> Array:
        """The mask that hides later rows from earlier ones."""
        if count > len(self._causal):
            self._causal = causal(count, self._decoder.dtype)
        return self._causal[:count, :count]

    def _at(self, request: int, position: int) -> Held:
        """The request's store, rewound to `position`; an empty one for a request never seen."""
        held = self._held.get(request)
        if not 0 <= position <= (held.length if held is not None else 0):
            raise ValueError(
                f"request {request}: position {position} is beyond the {self.length(request)} cached tokens"
            )
        if held is None:
            held = self._held[request] = self._decoder.held()
        held.length = position
        return held
