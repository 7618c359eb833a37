"""Feed tokens of one request to a causal model, from any position, with its cache: the batch-of-one reference path.

Rule: what is returned depends on the tokens before `position` and the tokens fed, never on what was fed and rewound
before. Positions are always explicit, so absolute-position models (GPT-2) are as right as rotary ones.
Rule: logits are returned in this machine's memory, so a pass has ended when it returns, on a GPU too; nothing before
that waits for the GPU.
It must not know: policies, time, drafts, acceptance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from testbed.decoding.tree import depths, visible
from testbed.errors import BadInput
from testbed.models.cache import RequestCache

if TYPE_CHECKING:
    import torch


class CausalRuntime:
    """A causal language model with one cache a request.

    `model` is any transformers causal model with a key-value cache, in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        if getattr(model, "_is_stateful", False):
            raise BadInput(f"{type(model).__name__} keeps a state that cannot be rewound: choose an attention model")
        self.model = model
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
        cache = self._own(request)
        device = self.model.device
        with torch.inference_mode():
            cache.rewind(position)
            answer = self.model(
                input_ids=torch.tensor([list(tokens)], device=device),
                position_ids=torch.arange(position, position + len(tokens), device=device)[None],
                past_key_values=cache.kept,
                use_cache=True,
                logits_to_keep=last,
            )
            cache.expect(position + len(tokens))
            return arrived(answer.logits[0, -last:])

    def forward_tree(
        self,
        request: int,
        position: int,
        tokens: Sequence[int],
        nodes: Sequence[int],
        parents: Sequence[int],
        wanted: Sequence[int],
    ) -> torch.Tensor:
        """Feed `tokens` at `position` and a tree of `nodes` below the last of them; only `tokens` stay in the cache.

        A parent is an index of an earlier node, or -1 for the last token, and so is each of `wanted`, whose logits are
        returned as by `forward`. A node attends to the text, to its ancestors and to itself, and its position is that
        of its depth: its logits are those of its own path.
        """
        import torch

        if not tokens:
            raise ValueError("a tree hangs from a token that is fed with it")
        cached = self.length(request)
        if not 0 <= position <= cached:
            raise ValueError(f"request {request}: position {position} is beyond the {cached} cached tokens")
        cache = self._own(request)
        device, dtype = self.model.device, self.model.dtype
        text, total = position + len(tokens), len(tokens) + len(nodes)
        places = [*range(position, text), *(text + depth - 1 for depth in depths(parents))]
        seen = np.tri(total, position + total, position, dtype=bool)
        seen[len(tokens) :, text:] = visible(parents)
        rows = [len(tokens) + node for node in wanted]
        first = min(rows)
        with torch.inference_mode():
            cache.rewind(position)
            shown = torch.tensor(seen, device=device)
            hidden = torch.zeros(shown.shape, dtype=dtype, device=device).masked_fill_(~shown, torch.finfo(dtype).min)
            answer = self.model(
                input_ids=torch.tensor([[*tokens, *nodes]], device=device),
                position_ids=torch.tensor([places], device=device),
                attention_mask=hidden[None, None],
                past_key_values=cache.kept,
                use_cache=True,
                logits_to_keep=total - first,
            )
            cache.expect(position + total)
            cache.rewind(text)
            return arrived(answer.logits[0, [row - first for row in rows]])

    def length(self, request: int) -> int:
        """Cached tokens of a request; 0 for one never seen."""
        cache = self._caches.get(request)
        return cache.length if cache else 0

    def release(self, request: int) -> None:
        """Forget a request."""
        self._caches.pop(request, None)

    def _own(self, request: int) -> RequestCache:
        """The request's cache, an empty one for one never seen."""
        return self._caches.setdefault(request, RequestCache())

    @property
    def end_of_text(self) -> int | None:
        """The model's end-of-text token, if it names one."""
        end = self.model.config.eos_token_id
        return int(end[0]) if isinstance(end, list) else end


def arrived(logits: torch.Tensor) -> torch.Tensor:
    """In this machine's memory, fp32; fp64 as they are."""
    import torch

    return (logits if logits.dtype == torch.float64 else logits.float()).cpu()
