"""A weight matrix cut into blocks of columns, each small enough for BLAS to read it where it lies.

OpenBLAS, which numpy brings, multiplies a few rows by a matrix without copying the matrix first only while
rows x inner x columns is at most `IN_PLACE`; beyond that the copy costs more than the product (three times as much for
4 rows by 256 x 2,048). One row reads the weights and does next to nothing else, so it wants wide blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

IN_PLACE = 1_000_000
FEW_ROWS = 5  # a verification's; as many at a time are multiplied in place
MANY_ROWS = 33  # from here on the copy is worth it
LANES = 16  # a block's width and its first number are multiples of it


def block_width(inner: int) -> int:
    """Columns of a block of a matrix that has so many rows."""
    return max(1, IN_PLACE // (FEW_ROWS * inner) // LANES) * LANES


class Matrix:
    """[inner, columns] by its blocks from left to right, each contiguous, and a bias.

    Called with [rows, inner] it gives [rows, columns].
    """

    def __init__(self, blocks: Sequence[Array], bias: Array | None = None) -> None:
        self.inner, self.width = blocks[0].shape
        self.dtype = blocks[0].dtype
        self._blocks = []
        self.columns = 0
        for block in blocks:
            self._blocks.append((self.columns, self.columns + block.shape[1], block))
            self.columns += block.shape[1]
        self.bias = bias

    def __call__(self, rows: Array) -> Array:
        count = len(rows)
        out = np.empty((count, self.columns), rows.dtype)
        if FEW_ROWS < count < MANY_ROWS:
            for top in range(0, count, FEW_ROWS):
                self._multiply(rows[top : top + FEW_ROWS], out[top : top + FEW_ROWS])
        else:
            self._multiply(rows, out)
        if self.bias is not None:
            out += self.bias
        return out

    def _multiply(self, rows: Array, out: Array) -> None:
        for first, end, block in self._blocks:
            np.matmul(rows, block, out=out[:, first:end])

    def columns_at(self, indices: Sequence[int]) -> Array:
        """[indices, inner]: the columns, as rows; how a tied embedding is looked up in the head."""
        out = np.empty((len(indices), self.inner), self.dtype)
        for row, index in enumerate(indices):
            out[row] = self._blocks[index // self.width][2][:, index % self.width]
        return out
