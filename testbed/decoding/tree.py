"""Trees of drafts: their shape, and which path of one the target keeps.

A tree is two tuples: the nodes' tokens, and each node's parent, which is the index of an earlier node or -1 for the
text the tree hangs from. Siblings differ. Rule kept: what is emitted is the target's own choice at every position, so
the output is target-only decoding whatever the tree held; greedy, or sampled with coupled draws (see
`testbed.decoding.verify`).

No torch here: logits arrive as numpy rows, the text's first, then one a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from testbed.decoding.processing import entropy_nats, softmax
from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import Verdict, choose

ROOT = -1


def check_tree(tokens: Sequence[int], parents: Sequence[int]) -> None:
    """Raise ValueError unless parents come first and siblings differ."""
    if len(tokens) != len(parents):
        raise ValueError(f"{len(tokens)} nodes with {len(parents)} parents")
    for node, parent in enumerate(parents):
        if not ROOT <= parent < node:
            raise ValueError(f"node {node} has parent {parent}: a parent is an earlier node, or {ROOT}")
    if len(set(zip(parents, tokens, strict=True))) != len(tokens):
        raise ValueError("two siblings hold the same token")


def depths(parents: Sequence[int]) -> list[int]:
    """How many nodes the path to each node has, itself included."""
    found: list[int] = []
    for parent in parents:
        found.append(1 if parent == ROOT else found[parent] + 1)
    return found


def visible(parents: Sequence[int]) -> np.ndarray:
    """[node, other]: whether a node sees the other, that is: its ancestors and itself."""
    sees = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if parent != ROOT:
            sees[node] |= sees[parent]
    return sees


def follow(choice: Callable[[int, int], int], tokens: Sequence[int], parents: Sequence[int]) -> tuple[int, ...]:
    """The nodes that the target walks down. `choice(node, depth)` is its own token there; the root has depth 0."""
    children = {(parent, token): node for node, (parent, token) in enumerate(zip(parents, tokens, strict=True))}
    path: list[int] = []
    node = ROOT
    while (step := children.get((node, choice(node, len(path))))) is not None:
        path.append(step)
        node = step
    return tuple(path)


def verify_tree_greedy(choices: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Verdict:
    """`choices` are the target's own tokens after the text and after each node; `accepted` is the depth reached."""
    if len(choices) != len(tokens) + 1:
        raise ValueError(f"{len(tokens)} nodes need {len(tokens) + 1} target choices, got {len(choices)}")
    check_tree(tokens, parents)
    path = follow(lambda node, depth: choices[node + 1], tokens, parents)
    return Verdict(len(path), tuple(choices[node + 1] for node in (ROOT, *path)))


def verify_tree(
    logits: np.ndarray, tokens: Sequence[int], parents: Sequence[int], sampling: Sampling, request: int, position: int
) -> Verdict:
    """One target pass judged. `logits` is [nodes + 1, vocabulary]; `position` is that of the tree's first level."""
    if len(logits) != len(tokens) + 1:
        raise ValueError(f"{len(tokens)} nodes need {len(tokens) + 1} rows of logits, got {len(logits)}")
    check_tree(tokens, parents)

    def choice(node: int, depth: int) -> int:
        return choose(logits[node + 1], sampling, request, position + depth)

    path = (ROOT, *follow(choice, tokens, parents))
    return Verdict(
        len(path) - 1,
        tuple(choice(node, depth) for depth, node in enumerate(path)),
        tuple(entropy_nats(logits[node + 1]) for node in path),
    )


def best_choices(logits: np.ndarray, width: int) -> tuple[tuple[int, ...], tuple[float, ...], float]:
    """The `width` largest logits, best first and ties to the lower id: tokens, probabilities, and the row's entropy."""
    candidates = np.flatnonzero(logits >= np.partition(logits, -width)[-width])  # in the order of their ids
    best = candidates[np.argsort(-logits[candidates], kind="stable")][:width]
    return tuple(best.tolist()), tuple(softmax(logits)[best].tolist()), entropy_nats(logits)
