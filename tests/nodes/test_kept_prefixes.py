"""Conversations through real hosts, messages and real models: caches that go on from others give the same output."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.models.batch import BatchRuntime
from testbed.models.compute import Compute
from testbed.models.lean.kinds import decoder_of
from testbed.models.lean.runtime import LeanRuntime
from testbed.models.load import load_model
from testbed.models.reference import target_only
from testbed.policies.prefixcaching import PrefixCaching
from testbed.workload.planned import PlannedRequest
from tests.nodes.nodes_inmemory import InlineDevice, decode, whole

POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("autoregressive", {}),
    ("centralised", {"token_budget": 24}),
    ("speculative", {"k": 3}),
    ("wanspec", {"k": 2}),
    ("wanspec", {"k": 2, "branches": 2}),
    ("sled", {}),
    ("wisp", {"estimator": "online", "prefill_tokens": 24}),
]
TOKENS = 12  # of an answer


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {"target": load_model("tiny-draft").model, "draft": load_model("tiny-draft-small").model}


def conversation() -> list[PlannedRequest]:
    """Two in turn, four requests each."""
    random = Random(3)
    texts: list[list[int]] = [[], []]
    planned = []
    for number in range(8):
        text = texts[number % 2]
        text += [random.randrange(5, 2000) for _ in range(40)]
        planned.append(PlannedRequest(number + 1, f"p{number}", tuple(text), TOKENS, Sampling(), (), None))
    return planned


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["lean", "torch"])
@pytest.mark.parametrize(("policy", "params"), POLICIES, ids=[f"{name}-{len(params)}" for name, params in POLICIES])
def test_output_is_target_only_and_only_what_is_new_is_fed(
    models: dict[str, Any], policy: str, params: dict[str, Any], runtime: str
) -> None:
    def made(model: Any) -> Any:
        return LeanRuntime(decoder_of(model)) if runtime == "lean" else BatchRuntime(model)

    def device() -> InlineDevice:
        return InlineDevice(
            Compute({role: made(model) for role, model in models.items()}, dict.fromkeys(models, whole))
        )

    requests = conversation()
    keeping = PrefixCaching()
    log = asyncio.run(decode(policy, params, requests, 1.0, device=device, keeping=keeping, in_turn=True))
    assert len(log.requests) == 8
    for row in log.requests:
        one = requests[row.request - 1]
        assert row.tokens == target_only(made(models["target"]), one.prompt, one.max_tokens, one.sampling).tokens
    first: dict[int, int] = {}
    for step in sorted((one for one in log.steps if one.kind == "verify"), key=lambda one: one.started_ns):
        first.setdefault(step.request, step.position)
    assert [first[request] for request in (1, 2)] == [0, 0]
    # the last turn's 40, 80 and 120 tokens, in whole blocks of 16, and whatever of its answer is in the block after
    assert [first[request] for request in (3, 4, 5, 6, 7, 8)] == [32, 32, 80, 80, 112, 112]
