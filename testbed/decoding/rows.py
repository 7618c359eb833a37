"""A draft distribution small enough for the wire: the few tokens a drafter drew from, with their probabilities."""

from __future__ import annotations

import msgspec
import numpy as np


class SparseRow(msgspec.Struct, frozen=True, array_like=True):
    """A truncated draft distribution: the drafter drew from exactly this row (probabilities sum to 1)."""

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]

    def dense(self, vocabulary: int) -> np.ndarray:
        """The same row over the whole vocabulary; tokens outside it have probability 0."""
        row = np.zeros(vocabulary)
        row[list(self.tokens)] = self.probabilities
        return row
