"""What a drafter says below a tree of drafts, from a decode table: recorded where it can be, else a counted stand-in.

A table holds the drafter's choices along the target's output, and its rollouts from there by first or second choice.
A tree goes further: to second choices below a draft that is wrong already. No token there can ever be emitted, because
the target never follows a wrong draft; but the drafter's entropies and probabilities there steer a tree's growth, and
so timing. What stands in for them:

* the tokens of second and further choices off the output: made up, different among siblings;
* their probabilities: each takes the share of what is left that second choices take on average in the table;
* what the drafter says below such a choice: what is recorded below its first sibling.

Every answer that used one of these counts as approximated. Knows nothing of requests, caches and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from testbed.tables.table import LIVE, DecodeTable, Floats, Ints, PromptTable


class Unrecorded(Exception):
    """What the table does not hold, in words; the caller knows the prompt."""


class State(NamedTuple):
    """`true` tokens of the output, then `off` of the rollout recorded there, from its second choice if `second`."""

    true: int
    off: int = 0
    second: bool = False
    stand_in: bool = False  # what follows is recorded below another choice


class Choices(NamedTuple):
    tokens: Ints
    probabilities: Floats
    entropy: float
    approximated: bool


class DrafterTree:
    """A drafter's answers by state, over one table."""

    def __init__(self, table: DecodeTable) -> None:
        self._table = table
        self._share: float | None = None

    def states(self, one: PromptTable, true: int, tokens: Sequence[int], parents: Sequence[int]) -> list[State]:
        """The state after each node of a tree that hangs from the first `true` output tokens."""
        root = State(true)
        found: list[State] = []
        for token, parent in zip(tokens, parents, strict=True):
            found.append(self._step(one, found[parent] if parent >= 0 else root, token))
        return found

    def choices(self, one: PromptTable, state: State, width: int) -> Choices:
        """The `width` most probable tokens at a state, best first."""
        true, off, second, stand_in = state
        if not off:
            tokens = one.top_tokens[true][:width]
            if len(tokens) < width:
                more = ", or outcomes.iid.choices" if self._table.synthetic else ""
                raise Unrecorded(
                    f"{len(tokens)} choices are recorded, but {width} were requested: use fewer branches{more}"
                )
            return Choices(tokens, one.top_probabilities[true][:width], one.rollout_entropies[true][0], False)
        if off >= self._table.depth:
            raise Unrecorded(
                f"rollouts have {off} tokens, but one more was requested: record the table with a greater depth"
            )
        if second:
            rows = one.second_tokens, one.second_entropies, one.second_confidences
        else:
            rows = one.rollout_tokens, one.rollout_entropies, one.rollout_confidences
        token, entropy, top = rows[0][true][off], rows[1][true][off], rows[2][true][off]
        tokens = tuple(_made_up(token, rank) for rank in range(width))
        return Choices(tokens, self._spread(top, width), entropy, stand_in or width > 1)

    def _step(self, one: PromptTable, state: State, token: int) -> State:
        true, off, second, stand_in = state
        if off:
            if off >= self._table.depth:
                raise Unrecorded(
                    f"rollouts have {off} tokens, but one more was fed: record the table with a greater depth"
                )
            first = (one.second_tokens if second else one.rollout_tokens)[true][off]
            return State(true, off + 1, second, stand_in or token != first)
        if true < len(one.tokens) and token == one.tokens[true]:
            return State(true + 1)
        if token == one.rollout_tokens[true][0]:
            return State(true, 1)
        if one.second_tokens and token == one.second_tokens[true][0]:
            return State(true, 1, second=True)
        if token in one.top_tokens[true]:
            return State(true, 1, stand_in=True)
        raise Unrecorded(f"token {token} is not a recorded choice there; {LIVE}")

    def _spread(self, top: float, width: int) -> Floats:
        chances = [top]
        left = max(0.0, 1.0 - top)
        for _ in range(width - 1):
            chances.append(min(chances[-1], left * self._mean_share()))
            left -= chances[-1]
        return tuple(chances)

    def _mean_share(self) -> float:
        """Of the probability that a first choice leaves, how much its second choice takes: the mean over the table."""
        if self._share is None:
            shares = [
                row[1] / (1.0 - row[0])
                for one in self._table.prompts.values()
                for row in one.top_probabilities
                if len(row) > 1 and row[0] < 1.0
            ]
            self._share = sum(shares) / len(shares) if shares else 0.0
        return self._share


def _made_up(first: int, rank: int) -> int:
    """A token that differs from its siblings'."""
    return first ^ rank
