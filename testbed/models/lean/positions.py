"""Positions: cosines and sines of rotary ones in tables that grow, and learned ones added to the embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
STEP = 2048  # positions that the tables begin with: few texts make them grow in the middle of a pass


class Rotation:
    """Cosines and signed sines by position, as the model's own module gives them."""

    def __init__(self, module: Any, dtype: Any) -> None:
        self._module = module
        self._dtype = dtype
        self._cosines, self._sines = self._table(0, STEP)
        self.width = 2 * self._cosines.shape[3]

    def __call__(self, places: Sequence[int]) -> tuple[Array, Array]:
        """[places, 1, 2, half]."""
        known = len(self._cosines)
        if (most := max(places)) >= known:
            more = self._table(known, max(most + 1, 2 * known) - known)
            self._cosines, self._sines = (
                np.concatenate(pair) for pair in zip((self._cosines, self._sines), more, strict=True)
            )
        if isinstance(places, range):
            return self._cosines[places.start : places.stop], self._sines[places.start : places.stop]
        return self._cosines[places], self._sines[places]

    def _table(self, first: int, count: int) -> tuple[Array, Array]:
        import torch

        with torch.inference_mode():
            cosines, sines = self._module(torch.zeros(1, dtype=self._dtype), torch.arange(first, first + count)[None])
        halves = [one[0].numpy().reshape(count, 1, 2, -1) for one in (cosines, sines)]
        signed = np.array(halves[1])
        signed[:, :, 0] *= -1
        return np.array(halves[0]), signed


def learned(
    embedding: Callable[[Sequence[int]], Array], table: Array
) -> Callable[[Sequence[int], Sequence[int]], Array]:
    """Embeddings of tokens plus those of their places; a place beyond the table raises IndexError."""
    own = np.array(table)

    def embed(tokens: Sequence[int], places: Sequence[int]) -> Array:
        rows: Array = embedding(tokens) + own[list(places)]
        return rows

    return embed
