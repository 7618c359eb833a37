"""Keys and values of many requests in one tensor per layer: a request is a row, a token's place in it is its position.

Because an entry lies where its position says, rewinding a request is nothing but forgetting its length: rejected
entries stay, are masked from every query (whose position is before them), and are overwritten by what is fed there
next. So there are no holes, and nothing is ever moved to close them.

With `testbed.models.cache` the only place that knows the transformers cache API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from testbed.models.cache import RequestCache

if TYPE_CHECKING:
    import torch

ROWS = 8  # to begin with; doubled when they run out
LENGTH_STEP = 256  # tokens a row is lengthened by


class Write(NamedTuple):
    """Where one forward pass's tokens go: parallel index tensors, one entry per token, padding left out."""

    rows: torch.Tensor  # of the slab
    positions: torch.Tensor
    batch_rows: torch.Tensor  # of the pass
    batch_columns: torch.Tensor


class Slab:
    """The tensors, [rows, heads, length, width] for each layer, made when the first keys arrive."""

    def __init__(self) -> None:
        self._layers: list[list[torch.Tensor]] = []  # [keys, values] a layer
        self._rows = ROWS
        self._length = LENGTH_STEP

    def reserve(self, rows: int, length: int) -> None:
        """Make room for `rows` requests of `length` tokens; what is held is kept."""
        if rows <= self._rows and length <= self._length:
            return
        while self._rows < rows:
            self._rows *= 2
        self._length = max(self._length, -(-length // LENGTH_STEP) * LENGTH_STEP)
        for pair in self._layers:
            for which, old in enumerate(pair):
                held, heads, filled, width = old.shape
                grown = old.new_zeros(self._rows, heads, self._length, width)
                grown[:held, :, :filled] = old
                pair[which] = grown

    def adopt(self, row: int, cache: RequestCache) -> None:
        """Copy one request's own cache into a row."""
        import torch

        with torch.inference_mode():  # layers made in a pass take no writes outside it
            for index, layer in enumerate(cache.kept.layers):
                pair = self._layer(index, layer.keys, layer.values)
                pair[0][row, :, : cache.length] = layer.keys[0]
                pair[1][row, :, : cache.length] = layer.values[0]

    def copy(self, row: int, length: int) -> RequestCache:
        """The first `length` tokens of a row as a cache of one request's own."""
        import torch

        cache = RequestCache()
        with torch.inference_mode():
            for index, pair in enumerate(self._layers if length else []):
                keys, values = (held[row : row + 1, :, :length].clone() for held in pair)
                cache.kept.update(keys, values, index)
        cache.expect(length)
        return cache

    def write(
        self, index: int, keys: torch.Tensor, values: torch.Tensor, write: Write
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what a layer made in one pass; returns that layer's whole tensors."""
        pair = self._layer(index, keys, values)
        for held, new in zip(pair, (keys, values), strict=True):
            held[write.rows, :, write.positions] = new[write.batch_rows, :, write.batch_columns]
        return pair[0], pair[1]

    def _layer(self, index: int, keys: torch.Tensor, values: torch.Tensor) -> list[torch.Tensor]:
        while len(self._layers) <= index:
            # zeros, not uninitialised memory: a masked entry still meets a weight of 0, and 0 times NaN is NaN
            self._layers.append(
                [one.new_zeros(self._rows, one.shape[1], self._length, one.shape[3]) for one in (keys, values)]
            )
        return self._layers[index]


def for_pass(slab: Slab, rows: Sequence[int], length: int, write: Write) -> Any:
    """What the model is given as its cache for one pass over `rows`, of which the first `length` positions are seen."""
    import torch
    from transformers import Cache
    from transformers.cache_utils import DynamicLayer

    first = rows[0]
    in_order = list(rows) == list(range(first, first + len(rows)))
    picked = None if in_order else torch.tensor(rows, device=write.rows.device)

    class PassCache(Cache):  # type: ignore[misc]  # transformers is not followed by the type checker
        """Reads and writes the slab. Masks are made by the caller, so a layer is never asked for its length."""

        def __init__(self) -> None:
            super().__init__(layer_class_to_replicate=DynamicLayer)

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            held = slab.write(layer_idx, key_states, value_states, write)
            if picked is None:
                keys, values = (one[first : first + len(rows), :, :length] for one in held)
            else:
                keys, values = (one[:, :, :length].index_select(0, picked) for one in held)
            return keys, values

    return PassCache()
