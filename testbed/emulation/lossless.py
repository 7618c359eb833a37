"""Compares every request's output with target-only decoding, token for token, by the same weights in this process.

The reference is decoded one token a pass with no drafts and no network. Equality is a hard claim in fp32 (invariant 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import choose
from testbed.models.load import load_model
from testbed.models.runtime import CausalRuntime
from testbed.nodes.compute import STREAM, Runtime
from testbed.nodes.control import PlannedRequest
from testbed.results.records import RequestRow


class Reference(NamedTuple):
    """Target-only output, with the gap between the two best logits at each position."""

    tokens: tuple[int, ...]
    gaps: tuple[float, ...]


class Mismatch(NamedTuple):
    """Where an output first left the reference. A gap near 1e-5 is a tie in fp32, a larger one is a defect."""

    policy: str
    request: int
    prompt_id: str
    output_position: int
    top2_gap: float | None  # None: one output is a prefix of the other


def target_only(
    runtime: Runtime, prompt: Sequence[int], max_tokens: int, sampling: Sampling, eos: int | None
) -> Reference:
    """Plain decoding with the target: greedy, or sampled with the request's own keyed draws."""
    tokens: list[int] = []
    gaps: list[float] = []
    position, feed = 0, list(prompt)
    while len(tokens) < max_tokens and (not tokens or tokens[-1] != eos):
        logits = np.asarray(runtime.forward(0, position, feed, 1))[0]
        position += len(feed)
        tokens.append(choose(logits, sampling, STREAM, position))
        second, best = np.partition(logits, -2)[-2:]
        gaps.append(float(best - second))
        feed = tokens[-1:]
    runtime.release(0)
    return Reference(tuple(tokens), tuple(gaps))


def compare(
    target: str, rows: Sequence[RequestRow], planned: Mapping[int, PlannedRequest], law_only: frozenset[str]
) -> tuple[list[RequestRow], list[Mismatch]]:
    """The rows with `lossless` filled in, and where each that differs first does.

    `lossless` stays None for policies in `law_only`: sampled drafts keep only the law.
    """
    runtime = CausalRuntime(load_model(target, threads=1).model)
    known: dict[tuple[tuple[int, ...], int, Sampling, int | None], Reference] = {}
    compared, mismatches = [], []
    for row in rows:
        if row.policy in law_only:
            compared.append(row)
            continue
        one = planned[row.request]
        # without temperature the seed decides nothing, so repeats share one reference
        sampling = replace(one.sampling, seed=0) if one.sampling.greedy else one.sampling
        key = (one.prompt, one.max_tokens, sampling, one.eos)
        if key not in known:
            known[key] = target_only(runtime, *key)
        reference = known[key]
        equal = row.tokens == reference.tokens
        compared.append(replace(row, lossless=equal))
        if not equal:
            mismatches.append(first_mismatch(row, reference))
    return compared, mismatches


def first_mismatch(row: RequestRow, reference: Reference) -> Mismatch:
    """Where the row's tokens leave the reference's; if one is a prefix of the other, at its end."""
    pairs = zip(row.tokens, reference.tokens, strict=False)
    shorter = min(len(row.tokens), len(reference.tokens))
    position = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), shorter)
    gap = reference.gaps[position] if position < shorter else None
    return Mismatch(row.policy, row.request, row.prompt_id, position, gap)
