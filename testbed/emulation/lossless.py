"""Compares every request's output with target-only decoding, token for token, by the same weights in this process.

The reference is decoded one token a pass with no drafts and no network. Equality is a hard claim in fp32 (invariant 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import choose
from testbed.models.load import load_model
from testbed.models.runtime import CausalRuntime
from testbed.nodes.compute import STREAM
from testbed.nodes.control import PlannedRequest
from testbed.results.records import RequestRow


def target_only(
    runtime: CausalRuntime, prompt: Sequence[int], max_tokens: int, sampling: Sampling, eos: int | None
) -> tuple[int, ...]:
    """Plain decoding with the target: greedy, or sampled with the request's own keyed draws."""
    tokens: list[int] = []
    position, feed = 0, list(prompt)
    while len(tokens) < max_tokens:
        logits = np.asarray(runtime.forward(0, position, feed, 1))[0]
        position += len(feed)
        token = choose(logits, sampling, STREAM, position)
        tokens.append(token)
        if token == eos:
            break
        feed = [token]
    runtime.release(0)
    return tuple(tokens)


def compare(
    target: str, rows: Sequence[RequestRow], planned: Mapping[int, PlannedRequest], law_only: frozenset[str]
) -> list[RequestRow]:
    """The rows with `lossless` filled in; None for policies in `law_only`: sampled drafts keep only the law."""
    runtime = CausalRuntime(load_model(target, threads=1).model)
    known: dict[tuple[object, ...], tuple[int, ...]] = {}
    compared = []
    for row in rows:
        if row.policy in law_only:
            compared.append(row)
            continue
        one = planned[row.request]
        # without temperature the seed decides nothing, so repeats share one reference
        sampling = replace(one.sampling, seed=0) if one.sampling.greedy else one.sampling
        key = (one.prompt, one.max_tokens, sampling, one.eos)
        if key not in known:
            known[key] = target_only(runtime, *key)  # type: ignore[arg-type]
        compared.append(replace(row, lossless=row.tokens == known[key]))
    return compared
