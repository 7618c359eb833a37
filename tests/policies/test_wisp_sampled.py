"""Sampled output of the serving policies (invariant 1): no draft is drawn, so outputs are target-only sampling's.

Whatever stops drafts, in whatever batches: verdicts are keyed by request and position, and T > 0 changes nothing in
that. The law itself is `test_sampled_law`'s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import choose
from testbed.models.devices import load_profile
from testbed.nodes.capacity import limits_of
from testbed.policies import registry
from testbed.testing import Job, LogitModels, Loop

VOCABULARY, LENGTH, PROMPT, REQUESTS = 6, 12, (0, 1), 60
LIMITS = limits_of(load_profile("a100-80gb/qwen3-32b"))
POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("centralised", {}),
    ("centralised", {"mode": "as_reported", "max_batch": 3}),
    ("sled", {"batch": 3}),
    ("sled", {"confidence": 0.3, "timeout_ms": 40.0, "batch": 2}),
    ("sled", {"mode": "as_wisp_describes", "max_draft": 3}),
    ("wisp", {"stop": "confidence", "threshold": 0.4}),
    ("wisp", {"stop": "svip", "send_suspect": False, "draft_while_waiting": True}),
    ("wisp", {"stop": "fixed", "max_draft": 4, "order": "deadline", "pass_tokens": 9, "ahead_ms": 100.0}),
]


def logits(model: str, context: tuple[int, ...]) -> np.ndarray:
    """The drafter's are the target's with an error of half their size."""
    own = np.random.default_rng([len(context), *context[-3:]]).normal(scale=1.2, size=VOCABULARY)
    error = np.random.default_rng([7, len(context), *context[-3:]]).normal(scale=0.6, size=VOCABULARY)
    return (own + error * (model == "draft")).astype(np.float32)


def sampling(temperature: float) -> Sampling:
    return Sampling(temperature=temperature, seed=11)


@pytest.mark.parametrize("temperature", [0.6, 1.0])  # 0.6 is WISP's quality runs'
@pytest.mark.parametrize(("name", "params"), POLICIES)
def test_sampled_outputs_are_those_of_the_target_alone(name: str, params: dict[str, Any], temperature: float) -> None:
    spec = registry.get(name)
    jobs = [
        Job(number, PROMPT, LENGTH, sampling=sampling(temperature), at_ms=9.0 * number) for number in range(REQUESTS)
    ]
    loop = Loop(spec, spec.parse(params), LogitModels(logits), rtt_ms=15.0, users=4, far="user", limits=LIMITS)
    result = loop.run(jobs)
    outputs = set()
    for job in jobs:
        context: tuple[int, ...] = PROMPT
        for token in result.outputs[job.request]:
            assert token == choose(logits("target", context), sampling(temperature), job.request, len(context))
            context = (*context, token)
        assert len(context) == len(PROMPT) + LENGTH
        outputs.add(context)
    assert len(outputs) > REQUESTS / 2  # they were drawn: requests of one prompt differ
    verified = [one for one in result.passes if one.kind == "verify" and one.drafts]
    if name != "centralised":
        assert any(0 < one.accepted < one.drafts for one in verified)  # drafts were judged, not only replaced
