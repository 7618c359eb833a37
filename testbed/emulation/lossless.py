"""Compares every request's output with target-only decoding, token by token, with the same weights in this process.

Equality is a hard claim in fp32 (invariant 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.emulation.mismatches import Mismatch, first_difference
from testbed.models.load import load_model
from testbed.models.reference import Reference, surely_target_only, target_only
from testbed.models.runtime import CausalRuntime
from testbed.results.records import RequestRow
from testbed.workload.planned import PlannedRequest

Key = tuple[tuple[int, ...], int, Sampling, tuple[int, ...]]  # what a reference depends on, but for the weights


def compare(
    target: str, rows: Sequence[RequestRow], planned: Mapping[int, PlannedRequest], law_only: frozenset[str]
) -> tuple[list[RequestRow], list[Mismatch]]:
    """The rows with `lossless` filled in, and where each that differs first does.

    Greedy output is fed to the target whole, and decoded token by token only where that leaves a doubt.
    `lossless` stays None for policies in `law_only`: sampled drafts keep only the law.
    """
    references = _References(target)
    compared, mismatches = [], []
    for row in rows:
        if row.policy in law_only:
            compared.append(row)
            continue
        reference = references.differing(row.tokens, planned[row.request])
        compared.append(replace(row, lossless=reference is None))
        if reference is not None:
            mismatches.append(first_mismatch(row, reference))
    return compared, mismatches


class _References:
    """Target-only outputs, each made or confirmed once."""

    def __init__(self, target: str) -> None:
        self._runtime = CausalRuntime(load_model(target, threads=1).model)
        self._confirmed: dict[Key, tuple[int, ...]] = {}
        self._decoded: dict[Key, Reference] = {}

    def differing(self, tokens: tuple[int, ...], planned: PlannedRequest) -> Reference | None:
        """The reference that these tokens are not; None where they are it."""
        # without temperature the seed decides nothing, so repeats share one reference
        sampling = replace(planned.sampling, seed=0) if planned.sampling.greedy else planned.sampling
        key = (planned.prompt, planned.max_tokens, sampling, planned.eos)
        if self._confirmed.get(key) == tokens or (key not in self._decoded and self._confirms(key, tokens)):
            return None
        if key not in self._decoded:
            self._decoded[key] = target_only(self._runtime, *key)
        return None if self._decoded[key].tokens == tokens else self._decoded[key]

    def _confirms(self, key: Key, tokens: tuple[int, ...]) -> bool:
        prompt, most, sampling, eos = key
        if not sampling.greedy or not surely_target_only(self._runtime, prompt, tokens, most, eos):
            return False
        self._confirmed[key] = tokens
        return True


def first_mismatch(row: RequestRow, reference: Reference) -> Mismatch:
    """Where the row's tokens leave the reference's; if one is a prefix of the other, at its end."""
    position = first_difference(row.tokens, reference.tokens)
    shorter = min(len(row.tokens), len(reference.tokens))
    gap = reference.gaps[position] if position < shorter else None
    return Mismatch(row.policy, row.request, row.prompt_id, position, gap)
