"""Which path of a tree of drafts is kept: crafted trees, exact verdicts; and the output never depends on the tree."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from testbed.decoding.processing import entropy_nats
from testbed.decoding.sampling import Sampling
from testbed.decoding.tree import (
    best_choices,
    check_tree,
    depths,
    verify_tree,
    verify_tree_greedy,
    visible,
)
from testbed.decoding.verify import choose, verify, verify_greedy

#        text
#       /    \
#     5 (0)  6 (1)
#    /   \     \
#  7 (2) 8 (3)  7 (4)
TOKENS = (5, 6, 7, 8, 7)
PARENTS = (-1, -1, 0, 0, 1)


@pytest.mark.parametrize(
    ("choices", "accepted", "tokens"),
    [
        ((5, 7, 0, 9, 0, 0), 2, (5, 7, 9)),  # the first path, and a bonus token
        ((5, 8, 0, 0, 9, 0), 2, (5, 8, 9)),  # a sibling
        ((6, 0, 7, 0, 0, 9), 2, (6, 7, 9)),  # the second branch: its own child 7, not the other branch's
        ((6, 0, 8, 0, 0, 9), 1, (6, 8)),  # 8 is a child of 5 only
        ((7, 0, 0, 0, 0, 0), 0, (7,)),  # no branch begins so
    ],
)
def test_the_target_walks_down_its_own_choices(
    choices: tuple[int, ...], accepted: int, tokens: tuple[int, ...]
) -> None:
    verdict = verify_tree_greedy(choices, TOKENS, PARENTS)
    assert (verdict.accepted, verdict.tokens) == (accepted, tokens)


def test_no_tree_at_all_is_plain_decoding() -> None:
    assert verify_tree_greedy((3,), (), ()).tokens == (3,)


def test_a_path_as_a_tree_gets_the_verdict_of_a_path() -> None:
    random = Random(1)
    for _ in range(300):
        length = random.randrange(5)
        drafts = [random.randrange(3) for _ in range(length)]
        choices = [random.randrange(3) for _ in range(length + 1)]
        assert verify_tree_greedy(choices, drafts, range(-1, length - 1)) == verify_greedy(choices, drafts)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, seed=5)], ids=["greedy", "coupled"])
def test_logits_of_a_path_are_judged_as_by_path_verification(sampling: Sampling) -> None:
    """Invariant 1 for sampled output too: entropies, tokens and draws are those of the path rule."""
    rows = np.random.default_rng(3)
    for position in range(60):
        logits = rows.normal(size=(4, 3)) * 2
        drafts = [int(token) for token in rows.integers(0, 3, 3)]
        tree = verify_tree(logits, drafts, (-1, 0, 1), sampling, 7, position)
        assert tree == verify(logits, drafts, sampling, 7, position)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, seed=2)], ids=["greedy", "coupled"])
def test_whatever_the_tree_the_output_is_target_only_decoding(sampling: Sampling) -> None:
    """A target that reads only its position, decoded through random trees."""
    tables = np.random.default_rng(4).normal(size=(200, 4)) * 2
    wanted = [choose(tables[position], sampling, 0, position) for position in range(100)]
    random, output = Random(6), []
    while len(output) < 100:
        tokens, parents = random_tree(random)
        base = len(output)
        logits = np.stack([tables[base], *(tables[base + depth] for depth in depths(parents))])
        output += verify_tree(logits, tokens, parents, sampling, 0, base).tokens
    assert output[:100] == wanted


def random_tree(random: Random) -> tuple[list[int], list[int]]:
    parents: list[int] = []
    tokens: list[int] = []
    for node in range(random.randrange(8)):
        parent, token = random.randrange(-1, node), random.randrange(4)
        if (parent, token) not in zip(parents, tokens, strict=True):
            parents.append(parent)
            tokens.append(token)
        else:
            break
    return tokens, parents


def test_a_node_sees_its_ancestors_and_nothing_beside_them() -> None:
    assert depths(PARENTS) == [1, 1, 2, 2, 2]
    assert visible(PARENTS).astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize(
    ("tokens", "parents", "message"),
    [
        ((1,), (0,), "an earlier node"),
        ((1, 2), (-1, 1), "an earlier node"),
        ((1, 1), (-1, -1), "siblings"),
        ((1,), (), "1 nodes with 0 parents"),
    ],
)
def test_what_is_no_tree_is_refused(tokens: tuple[int, ...], parents: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_tree(tokens, parents)


def test_the_same_token_under_two_parents_is_two_drafts() -> None:
    check_tree((5, 6, 7, 7), (-1, -1, 0, 1))


def test_verdicts_need_a_row_for_the_text_and_each_node() -> None:
    with pytest.raises(ValueError, match="2 nodes need 3 target choices"):
        verify_tree_greedy((1, 2), (1, 2), (-1, 0))
    with pytest.raises(ValueError, match="2 nodes need 3 rows"):
        verify_tree(np.zeros((2, 4)), (1, 2), (-1, 0), Sampling(), 0, 0)


def test_best_choices_come_best_first_and_ties_go_to_the_lower_id() -> None:
    row = np.array([0.0, 2.0, 1.0, 2.0, 1.0])
    tokens, probabilities, entropy = best_choices(row, 3)
    assert tokens == (1, 3, 2)
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert entropy == entropy_nats(row)
    assert best_choices(row, 1)[0] == (int(row.argmax()),)
