"""T0: speculative sampling has exactly the target's law, by enumeration in exact fractions.

Every draft sequence is weighed by the drafter's law, and every interval of the uniform numbers on which the outcome is
constant by its length. What a round emits is continued with the target's own law up to a fixed length, and the joint
law of that length must equal the target's, as fractions: no tolerance.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest

from testbed.decoding.processing import draw
from testbed.decoding.verify import Verdict, verify_greedy, verify_sampled

Row = list[Fraction]
Law = Callable[[tuple[int, ...]], Row]
Rule = Callable[..., Verdict]


def random_law(name: str, vocabulary: int, seed: int, zeros: bool = False) -> Law:
    """A conditional law with small rational probabilities, fixed for each context."""

    def row(context: tuple[int, ...]) -> Row:
        rng = random.Random(f"{name}/{seed}/{context}")
        weights = [rng.randrange(0 if zeros else 1, 6) for _ in range(vocabulary)]
        weights[rng.randrange(vocabulary)] += 1
        return [Fraction(weight, sum(weights)) for weight in weights]

    return row


def one_hot_law(vocabulary: int, seed: int) -> Law:
    def row(context: tuple[int, ...]) -> Row:
        pick = random.Random(f"hot/{seed}/{context}").randrange(vocabulary)
        return [Fraction(int(token == pick)) for token in range(vocabulary)]

    return row


def exact(row: Row) -> np.ndarray:
    return np.array(row, dtype=object)


def intervals(points: set[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """(a number inside, length) of every interval between neighbouring breakpoints of [0, 1)."""
    cuts = sorted({Fraction(0), Fraction(1), *(point for point in points if 0 < point < 1)})
    return [((low + high) / 2, high - low) for low, high in itertools.pairwise(cuts)]


def breakpoints(row: Row) -> set[Fraction]:
    total = sum(row)
    return {value / total for value in itertools.accumulate(row)} if total else set()


def target_law(target: Law, length: int, start: tuple[int, ...] = ()) -> dict[tuple[int, ...], Fraction]:
    law = {start: Fraction(1)}
    for _ in range(length - len(start)):
        law = {
            (*prefix, token): weight * mass
            for prefix, weight in law.items()
            for token, mass in enumerate(target(prefix))
            if mass
        }
    return law


def speculative_law(
    target: Law, drafter: Law, vocabulary: int, depth: int, rule: Rule = verify_sampled
) -> dict[tuple[int, ...], Fraction]:
    """The joint law of the first depth + 1 tokens when a round of `depth` drafts is verified."""
    law: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
    for drafts in itertools.product(range(vocabulary), repeat=depth):
        q_rows = [drafter(drafts[:index]) for index in range(depth)]
        p_rows = [target(drafts[:index]) for index in range(depth + 1)]
        drawn = Fraction(1)
        for row, draft in zip(q_rows, drafts, strict=True):
            drawn *= row[draft]
        if not drawn:
            continue
        accepting = [intervals({p[draft] / q[draft]}) for p, q, draft in zip(p_rows[:-1], q_rows, drafts, strict=True)]
        # At most one emission draw is consumed in a round, so one number can stand for all of them.
        points = set().union(*(breakpoints(row) for row in p_rows))
        for p, q in zip(p_rows[:-1], q_rows, strict=True):
            points |= breakpoints([max(a - b, Fraction(0)) for a, b in zip(p, q, strict=True)])
        for *accepts, (emit, emit_length) in itertools.product(*accepting, intervals(points)):
            weight = drawn * emit_length
            for _, length in accepts:
                weight *= length
            uniforms = [*((accept, emit) for accept, _ in accepts), (Fraction(0), emit)]
            verdict = rule([exact(p) for p in p_rows], [exact(q) for q in q_rows], drafts, uniforms)
            assert verdict.fallbacks == 0
            for sequence, mass in target_law(target, depth + 1, verdict.tokens).items():
                law[sequence] += weight * mass
    return {sequence: mass for sequence, mass in law.items() if mass}


@pytest.mark.parametrize(("vocabulary", "depth"), [(3, 1), (3, 2), (4, 2), (3, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_rejection_has_exactly_the_targets_law(vocabulary: int, depth: int, seed: int) -> None:
    target = random_law("target", vocabulary, seed)
    drafter = random_law("draft", vocabulary, seed)
    assert speculative_law(target, drafter, vocabulary, depth) == target_law(target, depth + 1)


@pytest.mark.parametrize("seed", range(3))
def test_rejection_is_exact_when_either_side_rules_tokens_out(seed: int) -> None:
    target = random_law("target", 3, seed, zeros=True)
    drafter = random_law("draft", 3, seed, zeros=True)
    assert speculative_law(target, drafter, 3, 2) == target_law(target, 3)


def test_rejection_is_exact_when_drafter_and_target_are_the_same() -> None:
    target = random_law("target", 3, 0)
    assert speculative_law(target, target, 3, 2) == target_law(target, 3)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_rejection_is_exact_for_a_one_hot_drafter(depth: int, seed: int) -> None:
    target = random_law("target", 4, seed)
    assert speculative_law(target, one_hot_law(4, seed), 4, depth) == target_law(target, depth + 1)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_coupled_verification_has_the_law_of_one_hot_rejection(depth: int, seed: int) -> None:
    """Both by enumeration: what a round emits, not only what is finally output, has one and the same law."""
    vocabulary, target, drafter = 3, random_law("target", 3, seed), one_hot_law(3, seed)
    drafts: tuple[int, ...] = ()
    for _ in range(depth):
        drafts = (*drafts, drafter(drafts).index(Fraction(1)))
    p_rows = [target(drafts[:index]) for index in range(depth + 1)]

    coupled: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
    for cells in itertools.product(*(intervals(breakpoints(row)) for row in p_rows)):
        weight = Fraction(1)
        for _, length in cells:
            weight *= length
        choices = [draw(exact(row), cast(float, uniform)) for row, (uniform, _) in zip(p_rows, cells, strict=True)]
        coupled[verify_greedy(choices, drafts).tokens] += weight

    rejected: dict[tuple[int, ...], Fraction] = defaultdict(Fraction)
    survive = Fraction(1)
    for index, draft in enumerate(drafts):
        for token in range(vocabulary):
            if token != draft:
                rejected[(*drafts[:index], token)] += survive * p_rows[index][token]
        survive *= p_rows[index][draft]
    for token in range(vocabulary):
        rejected[(*drafts, token)] += survive * p_rows[depth][token]
    assert dict(coupled) == dict(rejected)


def resample_from_target(
    p_rows: list[np.ndarray], q_rows: list[np.ndarray], drafts: tuple[int, ...], uniforms: list[tuple[Any, Any]]
) -> Verdict:
    """A classic mistake: right acceptance, but the correction is drawn from p instead of the residual."""
    verdict = verify_sampled(p_rows, q_rows, drafts, uniforms)
    at = verdict.accepted
    return Verdict(at, (*drafts[:at], draw(p_rows[at], uniforms[at][1])))


def accept_everything(
    p_rows: list[np.ndarray], q_rows: list[np.ndarray], drafts: tuple[int, ...], uniforms: list[tuple[Any, Any]]
) -> Verdict:
    return Verdict(len(drafts), (*drafts, draw(p_rows[-1], uniforms[-1][1])))


@pytest.mark.parametrize("wrong", [resample_from_target, accept_everything])
def test_the_enumeration_finds_a_wrong_rule(wrong: Rule) -> None:
    target, drafter = random_law("target", 3, 0), random_law("draft", 3, 0)
    assert speculative_law(target, drafter, 3, 2, wrong) != target_law(target, 3)
