"""A tree fed in one pass gives every node the logits of its own path, fed alone; and leaves no trace in the cache.

For rotary and absolute positions: the former forgive a constant shift of positions, the latter forgive nothing.
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from testbed.decoding.sampling import Sampling
from testbed.decoding.tree import best_choices, depths
from testbed.models.compute import Compute
from testbed.models.feeds import TreeFeed
from testbed.models.load import load_model
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from testbed.policies.api import DraftTree, VerifyTree

TOKENS = (5, 6, 7, 8, 7, 9, 11)
PARENTS = (-1, -1, 0, 0, 1, 4, 3)
WANTED = tuple(range(-1, len(TOKENS)))


def path_to(node: int) -> list[int]:
    return [] if node < 0 else [*path_to(PARENTS[node]), TOKENS[node]]


def assert_same(left: torch.Tensor, right: torch.Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=atol)


@pytest.mark.parametrize("known", [0, 12], ids=["with the prompt", "after a cached text"])
def test_each_node_s_logits_are_those_of_its_path(
    family: Any, full_logits: Any, sequence: list[int], known: int
) -> None:
    model, text = family(0), sequence[:15]
    runtime = CausalRuntime(model)
    if known:
        runtime.forward(3, 0, text[:known])
    rows = runtime.forward_tree(TreeFeed(3, known, text[known:], TOKENS, PARENTS, WANTED))
    for node, row in zip(WANTED, rows, strict=True):
        assert_same(row, full_logits(model, [*text, *path_to(node)])[-1])


def test_single_precision_chooses_the_same_tokens(family: Any, sequence: list[int]) -> None:
    model = family(0).float()
    together, apart = CausalRuntime(model), CausalRuntime(model)
    rows = together.forward_tree(TreeFeed(0, 0, sequence[:20], TOKENS, PARENTS, WANTED))
    for node, row in zip(WANTED, rows, strict=True):
        alone = apart.forward(0, 0, [*sequence[:20], *path_to(node)])[0]
        assert_same(row, alone, atol=1e-4)
        assert int(row.argmax()) == int(alone.argmax())


def test_only_the_text_stays_in_the_cache(family: Any, full_logits: Any, sequence: list[int]) -> None:
    model = family(0)
    runtime = CausalRuntime(model)
    runtime.forward_tree(TreeFeed(0, 0, sequence[:10], TOKENS, PARENTS, [0]))
    assert runtime.length(0) == 10
    accepted = [5, 8, 11]
    again = runtime.forward_tree(TreeFeed(0, 10, [*accepted, 20], (1, 2), (-1, 0), [-1, 1]))
    assert_same(again[0], full_logits(model, [*sequence[:10], *accepted, 20])[-1])
    assert_same(again[1], full_logits(model, [*sequence[:10], *accepted, 20, 1, 2])[-1])
    assert_same(runtime.forward(0, 14, [7])[0], full_logits(model, [*sequence[:10], *accepted, 20, 7])[-1])


def test_positions_by_place_instead_of_depth_would_be_noticed(
    families: dict[str, Any], full_logits: Any, sequence: list[int]
) -> None:
    """Guards the tests above: the second sibling stands at the first's position, not at the next one."""
    apart = {}
    for name, build in families.items():
        model = build(0)
        rows = CausalRuntime(model).forward_tree(TreeFeed(0, 0, sequence[:10], (5, 6), (-1, -1), [1]))
        # 6 as it would be if it stood one place later, with the gap that the first sibling leaves
        mask = torch.zeros(1, 1, 12, 12, dtype=torch.float64).masked_fill(
            torch.ones(12, 12).triu(1).bool(), torch.finfo(torch.float64).min
        )
        mask[0, 0, 11, 10] = torch.finfo(torch.float64).min
        with torch.inference_mode():
            wrong = model(
                torch.tensor([[*sequence[:10], 5, 6]]),
                position_ids=torch.arange(12)[None],
                attention_mask=mask,
                use_cache=False,
            ).logits[0, -1]
        apart[name] = float((wrong - rows[0]).abs().max())
    assert all(difference > 1e-3 for difference in apart.values()), apart


@pytest.mark.parametrize("position", [-1, 6])
def test_a_position_outside_the_cache_is_refused(family: Any, position: int) -> None:
    runtime = CausalRuntime(family(0))
    runtime.forward(0, 0, [1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="beyond the 5 cached tokens"):
        runtime.forward_tree(TreeFeed(0, position, [1], [2], [-1], [0]))
    with pytest.raises(ValueError, match="parent token is fed"):
        runtime.forward_tree(TreeFeed(0, 5, [], [2], [-1], [0]))


# --- jobs -----------------------------------------------------------------------------------------------------------


def one_pass(tokens: int) -> list[int]:
    return [tokens]


def test_a_tree_draft_job_gives_each_leaf_its_best_choices(family: Any, full_logits: Any, sequence: list[int]) -> None:
    model, text = family(0), tuple(sequence[:12])
    runtimes: Any = {"draft": CausalRuntime(model)}
    compute = Compute(runtimes, {"draft": one_pass})
    job = DraftTree(0, 9, 0, text, TOKENS, PARENTS, leaves=(2, 5, 6), width=2, fresh=len(text) + len(TOKENS))
    ready, passes = compute.draft_tree(job)
    for leaf, tokens, probabilities, entropy in zip(
        job.leaves, ready.tokens, ready.probabilities, ready.entropies, strict=True
    ):
        expected = best_choices(full_logits(model, [*text, *path_to(leaf)])[-1].numpy(), 2)
        assert tokens == expected[0]
        np.testing.assert_allclose((*probabilities, entropy), (*expected[1], expected[2]), atol=1e-9)
    assert [(one.position, one.tokens) for one in passes] == [(0, 19)]


def test_a_job_is_charged_its_fresh_tokens_in_passes_of_at_most_so_many(family: Any, sequence: list[int]) -> None:
    runtimes: Any = {"draft": CausalRuntime(family(0))}
    compute = Compute(runtimes, {"draft": lambda tokens: [tokens]})
    job = DraftTree(0, 9, 0, tuple(sequence[:12]), TOKENS, PARENTS, leaves=(2,), width=1, fresh=7, most=3)
    _, passes = compute.draft_tree(job)
    assert [(one.position, one.tokens) for one in passes] == [(12, 3), (15, 3), (18, 1)]
    assert [one.end_ns > one.start_ns for one in passes] == [False, False, True]


def test_tree_rounds_with_a_real_model_give_its_greedy_output(near_pair: tuple[Any, Any], sequence: list[int]) -> None:
    """Invariant 1 with real attention: random trees of the drafter's choices and of noise, verified round by round."""
    target, drafter = near_pair
    prompt = tuple(sequence[:9])
    wanted = target_only(CausalRuntime(target), prompt, 40).tokens
    runtimes: Any = {"target": CausalRuntime(target), "draft": CausalRuntime(drafter)}
    compute = Compute(runtimes, {"target": one_pass, "draft": one_pass})
    random, text, cached, depth_reached = Random(3), list(prompt), 0, 0
    while len(text) < len(prompt) + 40:
        nodes: list[int] = []
        parents: list[int] = []
        leaves = [-1]
        for _ in range(3):
            job = DraftTree(0, 1, 0, tuple(text), tuple(nodes), tuple(parents), tuple(leaves), 2, 1)
            grown = []
            for leaf, tokens in zip(leaves, compute.draft_tree(job)[0].tokens, strict=True):
                for token in (*tokens[: random.choice([1, 2])], random.randrange(40, 61)):
                    if (leaf, token) not in zip(parents, nodes, strict=True):
                        nodes.append(token)
                        parents.append(leaf)
                        grown.append(len(nodes) - 1)
            leaves = random.sample(grown, min(3, len(grown)))
        feed = tuple(text[cached:])
        verify = VerifyTree(0, 1, cached, feed, tuple(nodes), tuple(parents), max(depths(parents)), 1, Sampling())
        ready, _ = compute.verify_tree(verify)
        cached = len(text)
        text += ready.tokens
        depth_reached = max(depth_reached, ready.accepted)
    assert tuple(text[len(prompt) :])[:40] == wanted
    assert depth_reached >= 2, "no tree was accepted deep enough to test anything"


def test_the_shipped_pair_drafts_a_tree_as_it_drafts_paths() -> None:
    model = load_model("tiny-draft", threads=1)
    prompt = model.tokenizer.encode("The road went on and on through the trees")
    together, apart = CausalRuntime(model.model), CausalRuntime(model.model)
    rows = together.forward_tree(TreeFeed(0, 0, prompt, TOKENS, PARENTS, WANTED))
    for node, row in zip(WANTED, rows, strict=True):
        alone = apart.forward(0, 0, [*prompt, *path_to(node)])[0]
        assert_same(row, alone, atol=1e-3)
        assert int(row.argmax()) == int(alone.argmax())
