"""T3: sampled output through the policies, rounds, caches and wire order has the target's law.

Exact where it can be (drafts that are not drawn: coupling makes outputs equal, invariant 1), by chi-square with fixed
seeds where drafts are drawn. The target's law over all outputs of three tokens is known in closed form.
"""

from __future__ import annotations

import itertools
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from testbed.decoding.processing import probabilities
from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import choose
from testbed.policies import registry
from testbed.testing import Job, LogitModels, Loop

VOCABULARY, LENGTH, RUNS = 4, 3, 3000
PROMPT = (0, 1)


def logits(model: str, context: tuple[int, ...]) -> np.ndarray:
    return _logits(model == "draft", len(context), context[-3:])


@cache
def _logits(drafts: bool, length: int, last: tuple[int, ...]) -> np.ndarray:
    seed = [drafts, length, *last]
    return np.random.default_rng(seed).normal(scale=1.2, size=VOCABULARY).astype(np.float32)


def outputs(name: str, params: dict[str, Any], runs: int = RUNS, **sampling: Any) -> list[tuple[int, ...]]:
    spec = registry.get(name)
    jobs = [
        Job(number, PROMPT, LENGTH, sampling=Sampling(temperature=0.8, seed=11, **sampling), at_ms=0.001 * number)
        for number in range(runs)
    ]
    found: list[tuple[int, ...]] = []
    for start in range(0, runs, 10):
        batch = jobs[start : start + 10]
        result = Loop(spec, spec.parse(params), LogitModels(logits), rtt_ms=10.0).run(batch)
        found += [tuple(result.outputs[job.request]) for job in batch]
    return found


def p_value(found: list[tuple[int, ...]], **sampling: Any) -> float:
    expected = {}
    for sequence in itertools.product(range(VOCABULARY), repeat=LENGTH):
        weight = 1.0
        context: tuple[int, ...] = PROMPT
        for token in sequence:
            weight *= probabilities(logits("target", context), Sampling(temperature=0.8, **sampling))[token]
            context = (*context, token)
        expected[sequence] = weight * len(found)
    counted = Counter(found)
    assert all(expected[sequence] > 0 for sequence in counted), "an output the target rules out"
    # Cells too rare for chi-square are pooled.
    cells = [(counted[sequence], mean) for sequence, mean in expected.items() if mean >= 8]
    rare = [(counted[sequence], mean) for sequence, mean in expected.items() if 0 < mean < 8]
    if rare:
        cells.append((sum(count for count, _ in rare), sum(mean for _, mean in rare)))
    return float(chisquare([count for count, _ in cells], [mean for _, mean in cells]).pvalue)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "sampling"),
    [
        ({"k": 2, "draft": "sampled"}, {}),
        ({"k": 1, "draft": "sampled", "top_q": 2}, {}),
        ({"k": 3, "draft": "sampled", "top_q": 2}, {"top_k": 3}),
    ],
)
def test_sampled_drafts_leave_the_targets_law(params: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert p_value(outputs("speculative", params, **sampling), **sampling) > 0.001


@pytest.mark.parametrize(("name", "params"), [("speculative", {"k": 2}), ("wanspec", {"k": 2})])
def test_unsampled_drafts_give_target_only_sampling_token_for_token(name: str, params: dict[str, Any]) -> None:
    found = outputs(name, params, runs=200)
    assert found == outputs("autoregressive", {}, runs=200)
    for number, output in enumerate(found):
        context: tuple[int, ...] = PROMPT
        for token in output:
            assert token == choose(logits("target", context), Sampling(temperature=0.8, seed=11), number, len(context))
            context = (*context, token)


def test_target_only_sampling_has_the_targets_law() -> None:
    assert p_value(outputs("autoregressive", {})) > 0.001


@pytest.mark.slow
def test_the_statistic_can_fail() -> None:
    """Outputs of top-3 sampling are not taken for those of full sampling, with the same number of runs."""
    assert p_value(outputs("autoregressive", {}, top_k=3)) < 1e-6
