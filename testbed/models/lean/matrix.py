"""A weight matrix cut into blocks of columns, each small enough for BLAS to read it where it lies.

OpenBLAS, which numpy brings, multiplies a few rows by a matrix without copying the matrix first only while
rows x inner x columns is at most `IN_PLACE`; beyond that the copy costs more than the product (three times as much for
4 rows by 256 x 2,048). One row reads the weights and does next to nothing else, so it wants wide blocks in large pages.
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
CHUNK = 1 << 25  # bytes; numpy asks the kernel for huge pages from 4 MiB on


class Arena:
    """Room for blocks side by side, so that many small ones lie in huge pages too."""

    def __init__(self) -> None:
        self._chunk: Array = np.empty(0, np.uint8)
        self._used = 0

    def copy(self, block: Array) -> Array:
        """A contiguous copy of `block`."""
        line = LANES * 4
        if self._used + block.nbytes > len(self._chunk):
            raw = np.empty(max(CHUNK, block.nbytes) + line, np.uint8)
            self._chunk, self._used = raw[-raw.ctypes.data % line :], 0
        room = self._chunk[self._used : self._used + block.nbytes].view(block.dtype).reshape(block.shape)
        room[...] = block
        self._used += -(-block.nbytes // line) * line
        return room


class Matrix:
    """[inner, columns], and a bias. Called with [rows, inner] it gives [rows, columns]."""

    def __init__(self, arena: Arena, weight: Array, bias: Array | None = None) -> None:
        self.inner, self.columns = weight.shape
        self.dtype = weight.dtype
        self.width = max(1, IN_PLACE // (FEW_ROWS * self.inner) // LANES) * LANES
        self._blocks = [
            (first, min(first + self.width, self.columns), arena.copy(weight[:, first : first + self.width]))
            for first in range(0, self.columns, self.width)
        ]
        self.bias = bias if bias is not None and bias.any() else None

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
