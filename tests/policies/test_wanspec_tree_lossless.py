"""Invariant 1 with branches: output equals target-only greedy decoding, whatever the tree, the thresholds and the link.

The models read nothing but the contexts that commands spell out. Every job is also charged exactly the tokens that a
device which keeps trees in its cache would have had to process.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from testbed.policies import registry
from testbed.policies.wanspec.params import WanspecParams
from testbed.testing import HashModels, Job, Loop, hashed

RTTS_MS = [0.0, 10.0, 70.0, 200.0]


def check(params: WanspecParams, models: HashModels, work: list[Job], **loop: Any) -> Loop:
    ran = Loop(registry.get("wanspec"), params, models, **loop)
    result = ran.run(work)
    for job in work:
        assert tuple(result.outputs[job.request]) == models.reference(job), (params, loop, job)
    assert set(result.finished_ms) == {job.request for job in work}
    assert result.open_caches == 0
    assert all(charged == needed for charged, needed in ran.fresh_tokens), params
    return ran


def drawn(random: Random) -> WanspecParams:
    k = random.choice([1, 2, 3, 4])
    rule: Any = random.choice(["literal", "t_draft_aware", "expected_arrival", "expected_arrival"])
    ours = rule == "expected_arrival"
    return WanspecParams(
        k=k,
        branches=random.choice([1, 2, 3] if ours else [2, 2, 2, 3, 4]),
        theta=random.choice([None, 0.0, 0.3, 0.5, 0.9]),
        leaves=random.choice([1, 2, 4, 8]),
        local_branches=random.random() < 0.5,
        phi=random.choice([None, 0.0, 0.5, 100.0]),
        rule=rule,
        mismatch=random.choice(["entropy", "learned"]) if ours else "entropy",
        latency_bound=random.choice([None, 1.0, 1.02, 3.0]) if ours else None,
        switch_off=random.random() < 0.5,
        contradiction=random.random() < 0.7,
        rtt_ms=random.choice(["measured", "measured", 0.0, 1e9]),
        max_lookahead=random.choice([k, k + 1, 16]),
        max_nodes=random.choice([1, 8, 256]),
        catch_up=random.choice([None, 1, 4]),
    )


@pytest.mark.parametrize("requests", [1, 4])
@pytest.mark.parametrize("rtt_ms", RTTS_MS)
def test_output_equals_greedy_for_random_parameters(rtt_ms: float, requests: int) -> None:
    for seed in range(40):
        random = Random(f"{seed}/{rtt_ms}/{requests}")
        params = drawn(random)
        eos = random.choice([(), (), (7,), (7, 9)])
        work = [
            Job(request, (seed, request, 1, 2)[: 1 + (seed + request) % 4], random.choice([1, 2, 3, 30]), eos)
            for request in range(requests)
        ]
        salts = random.choice([{}, {}, {"drafter0": 1}, {"target0": 2, "drafter0": 1, "drafter1": 3}])
        models = HashModels(seed, match=random.choice([0.0, 0.5, 0.8, 1.0]), salts=salts, second=random.random())
        check(
            params,
            models,
            work,
            rtt_ms=rtt_ms,
            drafters=random.choice([1, 2]),
            t_draft_ms=random.choice([0.5, 7.5, 40.0]),
            link_samples=random.random() < 0.8,
        )


@pytest.mark.parametrize("seed", range(10))
def test_output_equals_greedy_when_messages_are_late_by_chance(seed: int) -> None:
    models = HashModels(seed)
    params = WanspecParams(branches=2, theta=0.3)
    jobs = [Job(request, (seed, request), 30, at_ms=5.0 * request) for request in range(3)]
    check(params, models, jobs, rtt_ms=20.0, jitter=lambda serial: 60.0 * hashed(seed, "jitter", serial))


def test_equal_events_give_equal_commands() -> None:
    """Invariant 3: nothing in a role depends on anything but its events."""
    first, again = (
        check(WanspecParams(branches=2, theta=None), HashModels(4), [Job(0, (1, 2), 60)], rtt_ms=15.0) for _ in range(2)
    )
    assert first.result.sent == again.result.sent
    assert first.result.passes == again.result.passes


def test_a_second_choice_saves_the_stall_of_a_mismatch() -> None:
    """What branches are for: where the second choice is always right, no mismatch is left, and no stall."""
    jobs = [Job(0, (1, 2, 3), 100)]
    # Nothing is drafted here, and the worker drafts every path there is to the depth of its look-ahead.
    params = WanspecParams(branches=2, theta=None, phi=100.0, leaves=64, rtt_ms=0.0, max_lookahead=6)
    always, never = (
        check(params, HashModels(1, vocabulary=5000, second=second), jobs, rtt_ms=20.0) for second in (1.0, 0.0)
    )
    assert always.result.latency_ms() < 0.8 * never.result.latency_ms()
    rounds = [one for one in always.result.passes if one.kind == "verify"]
    assert all(one.accepted == one.drafts for one in rounds)


def test_theta_spends_second_choices_on_unsure_positions_only() -> None:
    jobs = [Job(0, (1, 2, 3), 60)]
    trees = [
        check(WanspecParams(branches=2, theta=theta, leaves=4), HashModels(1), jobs, rtt_ms=10.0)
        for theta in (None, 0.5, 10.0)
    ]
    nodes = [sum(one.tree_nodes) / len(one.tree_nodes) for one in trees]
    assert nodes[0] > nodes[1] > nodes[2]
    assert max(trees[2].tree_nodes) <= 2 * 2  # local and remote drafts may still differ, a path each


def test_a_pass_drafts_from_so_many_leaves_at_most() -> None:
    jobs = [Job(0, (1, 2, 3), 60)]
    for leaves in (1, 3, 8):
        ran = check(WanspecParams(branches=2, theta=None, leaves=leaves), HashModels(1), jobs, rtt_ms=30.0)
        assert max(ran.tree_leaves) == leaves


def test_with_one_right_branch_the_tree_does_what_the_path_does() -> None:
    """A theta that no entropy reaches leaves one child each: the same rounds, passes and times as with one branch."""
    for seed in range(6):
        jobs = [Job(0, (seed, 2, 3), 80)]
        for phi in (None, 0.5):
            tree_params = WanspecParams(branches=2, theta=1e9, leaves=1, phi=phi)
            tree = Loop(registry.get("wanspec"), tree_params, HashModels(seed), rtt_ms=20.0).run(jobs)
            path = Loop(registry.get("wanspec"), WanspecParams(phi=phi), HashModels(seed), rtt_ms=20.0).run(jobs)
            assert tree.outputs == path.outputs
            assert tree.finished_ms == path.finished_ms
            assert [(p.node, p.kind, p.started_ms) for p in tree.passes] == [
                (p.node, p.kind, p.started_ms) for p in path.passes
            ]


def test_the_bars_of_the_ablation_parse() -> None:
    """Each bar of the paper's Fig. 7 is one more switch."""
    bars: list[dict[str, Any]] = [
        {"branches": 1, "phi": None},
        {"branches": 2, "theta": None, "phi": None},
        {"branches": 2, "theta": 0.5, "phi": None},
        {"branches": 2, "theta": 0.5, "phi": 0.5},
    ]
    for bar in bars:
        params = registry.get("wanspec").parse(bar)
        assert registry.get("wanspec").parse(params.model_dump()) == params
