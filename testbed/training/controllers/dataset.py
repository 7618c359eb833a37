"""Labelled tokens from a decode table: what a speculation controller saw, and whether the target accepted.

Rule kept: a draft's tokens count up to and including its first rejection. What was drafted after that stands on a wrong
text: no verdict says whether it would have been accepted. So every counted token was drafted after a true prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from testbed.errors import BadInput
from testbed.policies.wisp.features import Features
from testbed.tables.table import DecodeTable, PromptTable

Array = np.ndarray[Any, np.dtype[np.float64]]
Labels = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Examples:
    """One row per token; columns as `Features`."""

    features: Array
    accepted: Labels

    def __len__(self) -> int:
        return len(self.accepted)


def from_every_start(prompts: Iterable[PromptTable], max_draft: int) -> Examples:
    """Drafts from each position of each output: what to train on, since a round may begin anywhere."""
    starts = ((table, start) for table in prompts for start in range(len(table.tokens)))
    return _examples(one for table, start in starts for one in _draft(table, start, max_draft))


def from_rounds(prompts: Iterable[PromptTable], max_draft: int) -> Examples:
    """Drafts as rounds follow one another when none stops early: what to judge by, every position once at most."""

    def tokens() -> Iterable[tuple[Features, bool]]:
        for table in prompts:
            start = 0
            while start < len(table.tokens):
                draft = list(_draft(table, start, max_draft))
                yield from draft
                start += sum(accepted for _, accepted in draft) + 1

    return _examples(tokens())


def split(table: DecodeTable, test_share: float, seed: int) -> tuple[list[PromptTable], list[PromptTable]]:
    """Training and test prompts. All outputs of a prompt are on one side. Raises BadInput if a side would be empty."""
    ids = sorted(table.prompt_tokens)
    Random(seed).shuffle(ids)
    count = round(len(ids) * test_share)
    if not 0 < count < len(ids):
        raise BadInput(
            f"decode table {table.name} has {len(ids)} prompts, and {test_share:g} of them for testing leaves one "
            "side empty; record more prompts"
        )
    test = set(ids[:count])
    sides: tuple[list[PromptTable], list[PromptTable]] = ([], [])
    for key, one in table.prompts.items():
        prompt_id = key if key in table.prompt_tokens else key.rpartition("@")[0]
        sides[prompt_id in test].append(one)
    return sides


def _draft(table: PromptTable, start: int, max_draft: int) -> Iterable[tuple[Features, bool]]:
    for at in range(start, min(start + max_draft, len(table.tokens))):
        accepted = table.rollout_tokens[at][0] == table.tokens[at]
        yield (
            Features(
                table.rollout_confidences[at][0],
                table.rollout_entropies[at][0],
                table.margins[at],
                table.logit_variances[at],
                at - start,
            ),
            accepted,
        )
        if not accepted:
            return


def _examples(tokens: Iterable[tuple[Features, bool]]) -> Examples:
    rows: Sequence[tuple[Features, bool]] = list(tokens)
    features = np.array([one for one, _ in rows], dtype=np.float64).reshape(len(rows), len(Features._fields))
    return Examples(features, np.array([accepted for _, accepted in rows], dtype=np.bool_))
