"""What every pair of a large network has in common with a few of its pairs: the bare path, from a sample. Pure.

A packet that no link delays crosses one node's interface, the fabric and the other node's interface, so the time it
takes is a share of one end and a share of the other: a few partners of each node tell the paths to all the others. That
a share explains a pair is no more than an estimate; every link made with it is measured and judged afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from testbed.network.spec.fabric import Pair

STEPS = (1, 3, 7)  # a node's partners stand so many places further on, and before it
ROUNDS = 20
LEAST_ERROR = 1e-4  # ms; smaller ones count as this
# Of the greatest diagonal element, added to all: two halves of nodes without a pair inside either have no unique
# shares, and the smallest are taken. Far below what a pair weighs, though weights span five orders of magnitude.
RIDGE = 1e-9


def sample(nodes: Sequence[str], used: Collection[Pair]) -> list[Pair]:
    """Pairs to measure, each in one direction: those used, and 2 x STEPS partners of every node."""
    partners = [(node, nodes[(place + step) % len(nodes)]) for place, node in enumerate(nodes) for step in STEPS]
    return one_direction([*used, *(pair for pair in partners if pair[0] != pair[1])])


def one_direction(pairs: Iterable[Pair]) -> list[Pair]:
    """Each pair of nodes once, as it came first: a packet and its echo measure both links."""
    chosen: dict[Pair, None] = {}
    for pair in pairs:
        if pair[::-1] not in chosen:
            chosen[pair] = None
    return list(chosen)


def shares(measured: Mapping[Pair, float]) -> dict[str, float]:
    """Each node's share of its pairs' values, with the least sum of absolute errors.

    Absolute, not squared: a pair that was measured at a bad moment moves no other.
    """
    names = list(dict.fromkeys(name for pair in measured for name in pair))
    column = {name: number for number, name in enumerate(names)}
    first, second = np.array([(column[a], column[b]) for a, b in measured]).T
    values = np.array(list(measured.values()))
    own = np.arange(len(names))
    weights = np.ones(len(values))
    found: npt.NDArray[np.floating] = np.zeros(len(names))
    for _ in range(ROUNDS):  # each solves the squares that stand for the absolute errors of the round before
        # as normal equations, which have a row a node and not one a pair
        normal, right = np.zeros((len(names), len(names))), np.zeros(len(names))
        for here, there in ((first, first), (first, second), (second, first), (second, second)):
            np.add.at(normal, (here, there), weights)
        for end in (first, second):
            np.add.at(right, end, weights * values)
        normal[own, own] += RIDGE * normal.max()
        found = np.linalg.solve(normal, right)
        weights = 1 / np.maximum(np.abs(values - found[first] - found[second]), LEAST_ERROR)
    return dict(zip(names, map(float, found), strict=True))


def everywhere(measured: Mapping[Pair, float], pairs: Iterable[Pair]) -> dict[Pair, float]:
    """A value for each of `pairs`: its own where it was measured, else the sum of both ends' shares."""
    pairs = list(pairs)
    if all(pair in measured for pair in pairs):
        return {pair: measured[pair] for pair in pairs}
    of_node = shares(measured)
    return {(a, b): measured.get((a, b), of_node[a] + of_node[b]) for a, b in pairs}
