"""One prompt of a synthetic table: outcomes in, a complete decode table of made-up tokens out.

Rule kept: tokens that stand for different choices differ, and a rollout that agrees goes on as the next position's, so
a synthetic table replays like a recorded one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from testbed.tables.table import Floats, Ints, PromptTable, Rollout

VOCABULARY = 32_000  # of a common size, so that token ids take their usual room in messages


class Outcome(NamedTuple):
    """What happened at one position. `second_match`: the drafter's second choice was the target's token."""

    match: bool
    second_match: bool
    target_entropy: float  # nats
    target_gap: float
    draft_entropy: float  # nats
    probabilities: Floats  # the drafter's largest, at least two, as many in every outcome of a table
    logit_variance: float
    later: int | None = None  # the place of the choice that was, from 2, where it was neither of the first two


def made_up(random: Random, *taken: int) -> int:
    """A token id that is none of `taken`."""
    while (token := int(random.random() * VOCABULARY)) in taken:
        pass
    return token


def prompt_table(
    prompt: Ints,
    outcomes: Sequence[Outcome],
    spare: Callable[[], Outcome],
    random: Random,
    depth: int,
    second_choice: bool = True,
    further: Random | None = None,
) -> PromptTable:
    """One output token an outcome. `spare` gives the drafter's numbers where no outcome says them: off the output.

    There are as many choices as probabilities. `further` draws the tokens from the third on, so that more choices
    leave all else as it is; it is needed where there are more than two.
    """
    states = [*outcomes, spare()]
    tokens = tuple(made_up(random) for _ in outcomes)
    tops = [_top(random, state, token) for state, token in zip(outcomes, tokens, strict=True)]
    tops.append(_two(random))
    if further is not None:
        tops = [
            _wider(further, top, state, (*tokens, 0)[at])
            for at, (top, state) in enumerate(zip(tops, states, strict=True))
        ]
    rollouts: list[Rollout] = []
    seconds: list[Rollout] = []
    for at in range(len(outcomes), -1, -1):
        state = states[at]
        found = []
        for rank in range(1 + second_choice):
            token = tops[at][rank]
            on_output = at < len(tokens) and token == tokens[at]
            rest = rollouts[-1] if on_output else _astray(random, spare, depth - 1)
            found.append(rest.after(token, state.draft_entropy, state.probabilities[rank], depth))
        rollouts.append(found[0])
        seconds.extend(found[1:])
    rollouts.reverse()
    seconds.reverse()
    return PromptTable(
        prompt=prompt,
        tokens=tokens,
        entropies=tuple(state.target_entropy for state in outcomes),
        top2_gaps=tuple(state.target_gap for state in outcomes),
        top_tokens=tuple(tops),
        top_probabilities=tuple(state.probabilities[: len(tops[0])] for state in states),
        margins=tuple(state.probabilities[0] - state.probabilities[1] for state in states),
        logit_variances=tuple(state.logit_variance for state in states),
        rollout_tokens=tuple(row.tokens for row in rollouts),
        rollout_entropies=tuple(row.entropies for row in rollouts),
        rollout_confidences=tuple(row.confidences for row in rollouts),
        second_tokens=tuple(row.tokens for row in seconds),
        second_entropies=tuple(row.entropies for row in seconds),
        second_confidences=tuple(row.confidences for row in seconds),
    )


def _top(random: Random, outcome: Outcome, token: int) -> Ints:
    """The drafter's two best choices where the target's token is `token`."""
    first = token if outcome.match else made_up(random, token)
    return first, token if outcome.second_match else made_up(random, token, first)


def _wider(further: Random, top: Ints, outcome: Outcome, token: int) -> Ints:
    """With the third and further choices, of which one may be the target's token."""
    found = list(top)
    for place in range(2, len(outcome.probabilities)):
        found.append(token if place == outcome.later else made_up(further, token, *found))
    return tuple(found)


def _two(random: Random) -> Ints:
    first = made_up(random)
    return first, made_up(random, first)


def _astray(random: Random, spare: Callable[[], Outcome], steps: int) -> Rollout:
    """A rollout that has left the output."""
    drawn = [spare() for _ in range(steps)]
    return Rollout(
        tuple(made_up(random) for _ in drawn),
        tuple(outcome.draft_entropy for outcome in drawn),
        tuple(outcome.probabilities[0] for outcome in drawn),
    )
