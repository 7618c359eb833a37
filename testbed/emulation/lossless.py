"""Compares every request's output with target-only decoding, token by token, with the same weights in this process.

Equality is a hard claim in fp32 (invariant 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.models.load import load_model
from testbed.models.reference import Reference, target_only
from testbed.models.runtime import CausalRuntime
from testbed.results.records import RequestRow
from testbed.workload.planned import PlannedRequest


class Mismatch(NamedTuple):
    """Where an output first left the reference. A gap near 1e-5 is a tie in fp32, a larger one is a defect."""

    policy: str
    request: int
    prompt_id: str
    output_position: int
    top2_gap: float | None  # None: one output is a prefix of the other


def compare(
    target: str, rows: Sequence[RequestRow], planned: Mapping[int, PlannedRequest], law_only: frozenset[str]
) -> tuple[list[RequestRow], list[Mismatch]]:
    """The rows with `lossless` filled in, and where each that differs first does.

    `lossless` stays None for policies in `law_only`: sampled drafts keep only the law.
    """
    runtime = CausalRuntime(load_model(target, threads=1).model)
    known: dict[tuple[tuple[int, ...], int, Sampling, tuple[int, ...]], Reference] = {}
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
