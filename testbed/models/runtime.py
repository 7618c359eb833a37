"""Feed tokens of one request to a causal model, from any position, with its cache: the batch-of-one reference path.

Rule: what is returned depends on the tokens before `position` and the tokens fed, never on what was fed and rewound
before. Positions are always explicit, so absolute-position models (GPT-2) are as right as rotary ones; what would
break this (rotary frequencies that depend on the longest text, a window by place in the pass) ends in BadInput.
Rule: logits are returned in this machine's memory, so a pass has ended when it returns, on a GPU too; nothing before
that waits for the GPU. They leave through `arrived` alone, which ends the run if they are not finite numbers.
It must not know: policies, time, drafts, acceptance.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.decoding.tree import visible
from testbed.errors import BadInput
from testbed.models.cache import RequestCache
from testbed.models.feeds import TreeFeed
from testbed.models.guard import Guard, guard_of
from testbed.models.views import views_of

if TYPE_CHECKING:
    import torch


OPTIONAL = frozenset({"position_ids", "logits_to_keep"})  # what some models work out for themselves


class CausalRuntime:
    """A causal language model with one cache per request.

    `model` is any transformers causal model with a key-value cache, in evaluation mode.
    """

    def __init__(self, model: Any, guard: Guard | None = None) -> None:
        self.model = model
        self.guard = guard or guard_of(model)
        self._views = views_of(model.config)
        self._takes = {"position_ids", "logits_to_keep"} & set(inspect.signature(model.forward).parameters)
        self._caches: dict[int, RequestCache] = {}

    def forward(self, request: int, position: int, tokens: Sequence[int], last: int = 1) -> torch.Tensor:
        """Feed `tokens` at `position`, forgetting what was cached from there on.

        Returns the logits after each of the last `last` fed tokens, [last, vocabulary], fp32 (fp64 for an fp64 model).
        """
        import torch

        if not 1 <= last <= len(tokens):
            raise ValueError(f"asked for the logits of {last} of {len(tokens)} fed tokens")
        cached = self.length(request)
        if not 0 <= position <= cached:
            raise ValueError(f"request {request}: position {position} is beyond the {cached} cached tokens")
        end = position + len(tokens)
        self.guard.fits(tokens, end)
        cache = self._own(request)
        self._same_turns(cache, position, end)
        device = self.model.device
        with torch.inference_mode():
            cache.rewind(position)
            answer = self._call(
                last,
                input_ids=torch.tensor([list(tokens)], device=device),
                position_ids=torch.arange(position, end, device=device)[None],
                past_key_values=cache.kept,
            )
            self._expect(cache, end)
            return arrived(answer.logits[0, -last:], self.guard)

    def forward_tree(self, feed: TreeFeed) -> torch.Tensor:
        """The wanted logits, as `forward` returns them: a pass over the text's tokens and the tree below them."""
        import torch

        request, position, tokens, nodes, parents, _ = feed
        places, rows, text = feed.places, feed.rows, feed.text
        cached = self.length(request)
        if not 0 <= position <= cached:
            raise ValueError(f"request {request}: position {position} is beyond the {cached} cached tokens")
        total = len(tokens) + len(nodes)
        self._can("tree", position + total)
        seen = np.tri(total, position + total, position, dtype=bool)
        seen[len(tokens) :, text:] = visible(parents)
        first = min(rows)
        self.guard.fits([*tokens, *nodes], max(places) + 1)
        cache = self._own(request)
        self._same_turns(cache, position, max(places) + 1)
        device = self.model.device
        with torch.inference_mode():
            cache.rewind(position)
            queries = torch.tensor([places], device=device)
            keys = torch.cat([torch.arange(position, device=device)[None], queries], dim=1)
            shown = torch.tensor(seen, device=device)[None]
            answer = self._call(
                total - first,
                input_ids=torch.tensor([[*tokens, *nodes]], device=device),
                position_ids=queries,
                attention_mask=self._views.masks(shown, queries, keys, self.model.dtype),
                past_key_values=cache.kept,
            )
            self._expect(cache, position + total)
            cache.rewind(text)
            return arrived(answer.logits[0, [row - total for row in rows]], self.guard)

    def length(self, request: int) -> int:
        """Cached tokens of a request; 0 for one never seen."""
        cache = self._caches.get(request)
        return cache.length if cache else 0

    def release(self, request: int) -> None:
        """Forget a request."""
        self._caches.pop(request, None)

    def begin(self, request: int, other: int, length: int) -> None:
        """A request begins with the first `length` tokens that are cached of another one."""
        if length > self.length(other):
            raise ValueError(f"request {request}: request {other} has {self.length(other)} tokens cached, not {length}")
        cache = self._copied(other, length)
        self.release(request)
        self._caches[request] = cache

    def _copied(self, request: int, length: int) -> RequestCache:
        return self._caches[request].copied(length)

    def _own(self, request: int) -> RequestCache:
        """The request's cache, an empty one for one never seen."""
        return self._caches.setdefault(request, RequestCache())

    def _call(self, last: int, **inputs: Any) -> Any:
        """One pass; the logits of the last `last` tokens, or of more where the model cannot leave any out."""
        offered = {**inputs, "logits_to_keep": last}
        named = {key: value for key, value in offered.items() if key in self._takes or key not in OPTIONAL}
        return self.model(**named, use_cache=True)

    def _can(self, kind: str, end: int) -> None:
        """Raises BadInput for a kind of pass in which the model's logits would be wrong."""
        self.guard.allows(kind)
        own = self._views.own
        if own is not None and end > own:
            raise BadInput(
                f"model {self.guard.name} ({type(self.model).__name__}) applies a window of {own} tokens by index "
                f"instead of position, so a {kind} pass is correct up to {own} tokens only, and this one reaches {end}"
            )

    def _same_turns(self, cache: RequestCache, position: int, end: int) -> None:
        """Raises BadInput where the pass would turn its keys by other frequencies than those in the cache were."""
        limit = self._views.turns
        if limit is None:
            return
        beyond = end > limit
        if position == 0:
            cache.beyond = beyond
        if cache.beyond != beyond or (beyond and not self._views.steady):
            raise BadInput(
                f"model {self.guard.name} chooses its rotary positions by text length, and this text crosses {limit} "
                "tokens: the earlier cache is no longer valid"
            )

    def _expect(self, cache: RequestCache, length: int) -> None:
        if cache.length != length:
            raise BadInput(
                f"model {self.guard.name}: {type(self.model).__name__} has no key-value cache that can be rewound "
                "(it is recurrent or not a decoder): choose an attention model"
            )

    @property
    def rows(self) -> int | None:
        """Tokens that the model knows."""
        return self.guard.rows


def arrived(logits: torch.Tensor, guard: Guard) -> torch.Tensor:
    """In this machine's memory, fp32; fp64 as they are. Raises NotNumbers."""
    import torch

    here = (logits if logits.dtype == torch.float64 else logits.float()).cpu()
    guard.numbers(here)
    return here
