"""Invariants 1 and 4 through the real wire path: role hosts, framing and compute rules, with models one can enumerate.

Sampled output is held against the target's exact law, enumerated from its table.
"""

import asyncio

import numpy as np
import pytest
from scipy.stats import chi2

from testbed.decoding.processing import probabilities
from testbed.decoding.sampling import Sampling
from testbed.models.reference import target_only
from testbed.workload.planned import PlannedRequest
from tests.nodes.nodes_inmemory import VOCABULARY, TableRuntime, decode

PROMPT = (1, 2)
POLICIES = [
    ("autoregressive", {}),
    ("centralised", {"max_batch": 3}),
    ("sled", {"batch": 2, "max_draft": 3, "timeout_ms": 5.0}),
    ("speculative", {"k": 1}),
    ("speculative", {"k": 4}),
    ("wanspec", {"k": 2, "phi": 0.5}),
    ("wanspec", {"k": 3, "phi": None, "rule": "t_draft_aware"}),
    ("wanspec", {"k": 2, "branches": 2, "theta": None, "phi": 0.5}),
    ("wanspec", {"k": 3, "branches": 3, "theta": 1.5, "phi": None, "local_branches": True}),
]


def plan(count, tokens, sampling=Sampling(), seeds=False):  # noqa: B008  # frozen
    return [
        PlannedRequest(
            request=1 + index,
            prompt_id=f"p{index}",
            prompt=(*PROMPT, index % VOCABULARY) if not seeds else PROMPT,
            max_tokens=tokens,
            sampling=sampling if not seeds else Sampling(sampling.temperature, sampling.top_k, sampling.top_p, index),
            eos=(),
            due_ms=None,
        )
        for index in range(count)
    ]


@pytest.mark.parametrize(("policy", "params"), POLICIES)
@pytest.mark.parametrize("one_way_ms", [0.0, 3.0])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_output_equals_target_only_decoding_token_for_token(policy, params, one_way_ms, temperature):
    """Invariant 1; with a temperature it holds too, because greedy drafts are verified by the target's own draw."""
    requests = plan(5, 40, Sampling(temperature, 0, 1.0, 11))
    log = asyncio.run(decode(policy, params, requests, one_way_ms))
    for row in log.requests:
        one = requests[row.request - 1]
        assert row.tokens == target_only(TableRuntime(), one.prompt, one.max_tokens, one.sampling).tokens
    assert len(log.requests) == 5


@pytest.mark.parametrize(("policy", "params"), POLICIES)
def test_tokens_passes_and_messages_are_conserved(policy, params):
    """Invariant 4: what rounds emitted is what users got; every message sent by tokens arrived once."""
    log = asyncio.run(decode(policy, params, plan(4, 30)))
    emitted = sum(one.emitted for one in log.rounds)
    assert emitted == sum(row.output_tokens for row in log.requests) == 4 * 30
    prompts_ahead = 4 if policy == "sled" else 0  # passes that ask for no verdict
    assert len([one for one in log.steps if one.kind == "verify"]) == len(log.rounds) + prompts_ahead
    assert sum(one.tokens for one in log.messages if one.kind == "tokens") == emitted
    assert all(one.accepted <= one.drafts for one in log.rounds)


def exact_pair_law(sampling):
    """The target's probability of each pair of first two output tokens."""
    runtime, law = TableRuntime(), np.zeros((VOCABULARY, VOCABULARY))
    first = probabilities(runtime.logits(PROMPT), sampling)
    for a in range(VOCABULARY):
        law[a] = first[a] * probabilities(runtime.logits((*PROMPT, a)), sampling)
    return law


@pytest.mark.parametrize(
    ("policy", "params", "count"),
    [
        ("speculative", {"k": 2, "draft": "sampled"}, 2500),
        ("speculative", {"k": 2, "draft": "sampled", "top_q": 2}, 2500),
        (
            "speculative",
            {"k": 2},
            600,
        ),  # drafts that are not drawn leave each request's output as it is, elsewhere tested
        ("wanspec", {"k": 2, "phi": 0.5}, 600),
    ],
)
def test_sampled_output_follows_the_targets_law_through_the_wire(policy, params, count):
    """Chi-square over all pairs of tokens; seeds are fixed, so the verdict is too. A wrong rule misses by far."""
    sampling = Sampling(temperature=0.9)
    requests = plan(count, 2, sampling, seeds=True)
    log = asyncio.run(decode(policy, params, requests, noise=2.0))
    counts = np.zeros((VOCABULARY, VOCABULARY))
    for row in log.requests:
        counts[row.tokens] += 1
    expected = count * exact_pair_law(sampling)
    possible = expected > 0
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert counts[~possible].sum() == 0
    assert chi2.sf(statistic, possible.sum() - 1) > 1e-3
    drafter = probabilities(TableRuntime(2.0).logits(PROMPT), sampling)
    assert abs(drafter - exact_pair_law(sampling).sum(1)).max() > 0.05  # a drafter that would show if it leaked through
