"""Feed tokens of many requests to a causal model in one forward pass, each at its own position with its own cache.

Rule: a request's logits are those of the one-request path (`testbed.models.runtime`) up to the arithmetic's rounding,
whatever else is in the batch. Feeds are ragged; they are padded on the left, where no query that matters looks.
Positions and the mask are explicit in every pass, so absolute-position models (GPT-2) are as right as rotary ones.

A request fed alone keeps its own cache until it is first fed in a batch; from then on its keys and values are a
row of the slab, until it feeds a tree, which gets its own cache again. Requests that are never batched therefore
run exactly as without this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from testbed.errors import BadInput
from testbed.models.batch_cache import Slab, Write, for_pass
from testbed.models.cache import RequestCache
from testbed.models.feeds import BatchFeed
from testbed.models.guard import Guard
from testbed.models.runtime import CausalRuntime, arrived

if TYPE_CHECKING:
    import torch

# Padding is wasted work, a separate pass has a fixed cost: feeds share a pass while padding is at most this many
# tokens and a quarter of the real ones.
CHEAP_PADDING = 64


class BatchRuntime(CausalRuntime):
    """A causal runtime that can also feed many requests at once."""

    def __init__(self, model: Any, guard: Guard | None = None) -> None:
        super().__init__(model, guard)
        self._slab = Slab()
        self._rows: dict[int, int] = {}  # request to row
        self._lengths: dict[int, int] = {}  # of requests in the slab
        self._free: list[int] = []

    @property
    def can_batch(self) -> bool:
        """Whether batched passes of any length are right, as far as is known."""
        return "batch" not in self.guard.refused and self._views.own is None and self._views.turns is None

    def forward_batch(self, feeds: Sequence[BatchFeed]) -> list[torch.Tensor]:
        """Logits [last, vocabulary] of each feed, in order. One pass, or a few where feeds differ much in length."""
        if len({one.request for one in feeds}) != len(feeds):
            raise ValueError("one batch contains a request twice")
        for one in feeds:
            if not 0 <= one.last <= len(one.tokens) or not one.tokens:
                raise ValueError(f"asked for the logits of {one.last} of {len(one.tokens)} fed tokens")
            if not 0 <= one.position <= self.length(one.request):
                raise ValueError(
                    f"request {one.request}: position {one.position} is beyond the {self.length(one.request)} cached"
                )
            self.guard.fits(one.tokens, one.position + len(one.tokens))
        longest = max(one.position + len(one.tokens) for one in feeds)
        self._can("batch", longest)
        self._none_beyond(longest)
        answers: dict[int, torch.Tensor] = {}
        for group in passes_of([len(one.tokens) for one in feeds]):
            for index, logits in zip(group, self._pass([feeds[index] for index in group]), strict=True):
                answers[index] = logits
        return [answers[index] for index in range(len(feeds))]

    def forward(self, request: int, position: int, tokens: Sequence[int], last: int = 1) -> torch.Tensor:
        if request not in self._rows:
            return super().forward(request, position, tokens, last)
        if not 1 <= last <= len(tokens):
            raise ValueError(f"asked for the logits of {last} of {len(tokens)} fed tokens")
        return self.forward_batch([BatchFeed(request, position, tokens, last)])[0]

    def length(self, request: int) -> int:
        return self._lengths[request] if request in self._rows else super().length(request)

    def release(self, request: int) -> None:
        super().release(request)
        row = self._rows.pop(request, None)
        if row is not None:
            self._free.append(row)
            del self._lengths[request]

    def _copied(self, request: int, length: int) -> RequestCache:
        row = self._rows.get(request)
        return super()._copied(request, length) if row is None else self._slab.copy(row, length)

    def _pass(self, feeds: Sequence[BatchFeed]) -> list[torch.Tensor]:
        import torch

        device = self.model.device
        # ascending rows: a run of them is read in place instead of being gathered
        order = sorted(range(len(feeds)), key=lambda index: self._row(feeds[index].request))
        feeds = [feeds[index] for index in order]
        rows = [self._rows[one.request] for one in feeds]
        width = max(len(one.tokens) for one in feeds)
        seen = max(one.position + len(one.tokens) for one in feeds)
        self._slab.reserve(max(rows) + 1, seen)
        ids = [[0] * (width - len(one.tokens)) + list(one.tokens) for one in feeds]
        places = [  # a padding token stands at position 0 and is written nowhere
            [0] * (width - len(one.tokens)) + list(range(one.position, one.position + len(one.tokens))) for one in feeds
        ]
        real = [  # one entry per token: as `Write` wants them
            (rows[row], places[row][column], row, column)
            for row, one in enumerate(feeds)
            for column in range(width - len(one.tokens), width)
        ]
        with torch.inference_mode():
            positions = torch.tensor(places, device=device)
            write = Write(*torch.tensor(real, device=device).unbind(1))
            keys = torch.arange(seen, device=device)[None]
            logits = self._call(
                max(1, *(one.last for one in feeds)),
                input_ids=torch.tensor(ids, device=device),
                position_ids=positions,
                attention_mask=self._views.masks(
                    keys[:, None, :] <= positions[:, :, None], positions, keys, self.model.dtype
                ),
                past_key_values=for_pass(self._slab, rows, seen, write),
            ).logits
            logits = arrived(logits, self.guard)  # all at once: what was fed without logits wanted has ended as well
        answers: list[Any] = [None] * len(feeds)
        for row, (index, one) in enumerate(zip(order, feeds, strict=True)):
            self._lengths[one.request] = one.position + len(one.tokens)
            answers[index] = logits[row, logits.shape[1] - one.last :]
        return answers

    def _none_beyond(self, longest: int) -> None:
        """Raises BadInput where one request's length would change how the keys of all others are turned."""
        limit = self._views.turns
        if limit is not None and longest > limit:
            raise BadInput(
                f"model {self.guard.name} chooses its rotary positions by text length, so batched passes are correct "
                f"up to {limit} tokens only, and this one reaches {longest}"
            )

    def _own(self, request: int) -> RequestCache:
        """For a pass of one request alone, such as a tree's: one that is in the slab leaves it with what is cached."""
        row = self._rows.pop(request, None)
        if row is not None:
            self._caches[request] = self._slab.copy(row, self._lengths.pop(request))
            self._free.append(row)
        return super()._own(request)

    def _row(self, request: int) -> int:
        """The request's row; one that comes with its own cache moves in."""
        row = self._rows.get(request)
        if row is None:
            row = self._free.pop() if self._free else len(self._rows)
            own = self._caches.pop(request, None)
            held = own.length if own is not None else 0
            self._slab.reserve(row + 1, held)
            if own is not None and held:
                self._slab.adopt(row, own)
            self._rows[request], self._lengths[request] = row, held
        return row


def passes_of(lengths: Sequence[int]) -> list[list[int]]:
    """Which feeds share a forward pass, by index: longest first, as long as padding costs less than it saves."""
    groups: list[list[int]] = []
    longest = total = 0  # tokens, of the group under way
    for index in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        length = lengths[index]
        real = total + length
        if groups and longest * (len(groups[-1]) + 1) - real <= CHEAP_PADDING + real // 4:
            groups[-1].append(index)
            total = real
        else:
            groups.append([index])
            longest = total = length
    return groups
