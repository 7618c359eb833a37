"""A decode table as a few long arrays, made once for each table and kept while it is used again, as sweeps do."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from testbed.models.tables import DecodeTable
from testbed.simulation.compiled.layout import Floats, Ints

TABLES_KEPT = 4  # a few megabytes each


@dataclass(frozen=True)
class TableArrays:
    """Prompts one after another, each with a row for every position; the last one of a prompt has no target token."""

    rows: dict[str, int]  # first row by the table's key
    truth: Ints
    entropies: Floats
    rollouts: Ints
    depth: int


@dataclass(frozen=True)
class _ByContent:
    """A table that is equal to another when what it holds is."""

    sha256: str
    table: DecodeTable = field(compare=False)


def arrays_of(table: DecodeTable) -> TableArrays:
    return _arrays_of(_ByContent(table.sha256, table))


@lru_cache(maxsize=TABLES_KEPT)
def _arrays_of(key: _ByContent) -> TableArrays:
    table = key.table
    rows: dict[str, int] = {}
    total = 0
    for name, one in table.prompts.items():
        rows[name] = total
        total += len(one.tokens) + 1
    truth = np.zeros(total, np.int64)
    entropies = np.zeros(total, np.float64)
    rollouts = np.zeros((total, table.depth), np.int64)
    for name, one in table.prompts.items():
        start, count = rows[name], len(one.tokens)
        truth[start : start + count] = one.tokens
        entropies[start : start + count] = one.entropies
        rollouts[start : start + count + 1] = one.rollout_tokens
    return TableArrays(rows, truth, entropies, rollouts, table.depth)
