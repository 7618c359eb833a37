"""Positions: cosines and sines of rotary ones, learned ones added to the embedding. A place beyond them is an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Embed = Callable[[Sequence[int], Sequence[int]], Array]


class Rotation:
    """Cosines and signed sines by position, [places, 1, 2, half] each, as the model's own module gave them."""

    def __init__(self, cosines: Array, sines: Array) -> None:
        self._cosines, self._sines = cosines, sines

    def __call__(self, places: Sequence[int]) -> tuple[Array, Array]:
        """[places, 1, 2, half]. IndexError for a place that is not there."""
        if isinstance(places, range):
            if places.stop > len(self._cosines):  # a slice would be short instead
                raise IndexError(f"position {places.stop - 1} is beyond the last, {len(self._cosines) - 1}")
            return self._cosines[places.start : places.stop], self._sines[places.start : places.stop]
        return self._cosines[places], self._sines[places]


def learned(embedding: Callable[[Sequence[int]], Array], table: Array) -> Embed:
    """Embeddings of tokens plus those of their places; a place beyond the table raises IndexError."""

    def embed(tokens: Sequence[int], places: Sequence[int]) -> Array:
        rows: Array = embedding(tokens) + table[list(places)]
        return rows

    return embed


def without(embedding: Callable[[Sequence[int]], Array]) -> Embed:
    """Embeddings alone: positions come in elsewhere."""

    def embed(tokens: Sequence[int], places: Sequence[int]) -> Array:
        return embedding(tokens)

    return embed
