"""Records one prompt: the target's output, greedy or drawn, then the drafter's state and rollouts along it.

Rule kept: the same runtime, the same functions and one token per pass, as a drafter in an emulated run, so the numbers
are the emulation's own. Rollouts are made from the end backwards: where the drafter chooses what the target chose, its
rollout is the next position's, one token later. Only choices that leave the output cost their own passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from testbed.decoding.processing import entropy_nats, logit_variance, margin, softmax
from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import draft_choice
from testbed.models.compute import STREAM, Runtime
from testbed.models.reference import GREEDY, target_only
from testbed.models.runtime import CausalRuntime
from testbed.tables.table import Floats, Ints, PromptTable, Rollout, RolloutFeatures

TOP_CHOICES = 4
REQUEST = 0


class Extent(NamedTuple):
    """How far to record. An output goes on for `depth` tokens after the first of `eos`, because drafts do."""

    output_tokens: int
    depth: int
    eos: Ints
    second_choice: bool = True


class _State(NamedTuple):
    """The drafter after a true prefix; its choices best first."""

    entropy: float
    top_tokens: Ints
    top_probabilities: Floats
    logit_variance: float


def record_prompt(
    target: CausalRuntime, drafter: Runtime, prompt: Ints, extent: Extent, sampling: Sampling = GREEDY
) -> PromptTable:
    """The prompt's table for a request with this sampling. Both runtimes are released."""
    output = target_only(target, prompt, extent.output_tokens, sampling, extent.eos, beyond_eos=extent.depth)
    states = _follow(drafter, prompt, output.tokens)
    rollouts, seconds = _rollouts(drafter, len(prompt), output.tokens, states, extent)
    drafter.release(REQUEST)
    return PromptTable(
        prompt=prompt,
        tokens=output.tokens,
        entropies=output.entropies,
        top2_gaps=output.gaps,
        top_tokens=tuple(state.top_tokens for state in states),
        top_probabilities=tuple(state.top_probabilities for state in states),
        margins=tuple(state.top_probabilities[0] - state.top_probabilities[1] for state in states),
        logit_variances=tuple(state.logit_variance for state in states),
        rollout_tokens=tuple(rollout.tokens for rollout in rollouts),
        rollout_entropies=tuple(rollout.entropies for rollout in rollouts),
        rollout_confidences=tuple(rollout.confidences for rollout in rollouts),
        second_tokens=tuple(rollout.tokens for rollout in seconds),
        second_entropies=tuple(rollout.entropies for rollout in seconds),
        second_confidences=tuple(rollout.confidences for rollout in seconds),
        rollout_features=RolloutFeatures(
            tuple(rollout.margins for rollout in rollouts), tuple(rollout.logit_variances for rollout in rollouts)
        ),
    )


def _follow(drafter: Runtime, prompt: Ints, output: Ints) -> list[_State]:
    """The drafter after the prompt and after each token of the output, which stay in its cache."""
    states = []
    position = 0
    drafter.release(REQUEST)
    for feed in (prompt, *((token,) for token in output)):
        logits = _logits(drafter, position, feed)
        position += len(feed)
        probabilities = softmax(logits)
        # By logits, as drafts are chosen; of equal ones the lowest token id is first.
        top = np.argsort(-logits, kind="stable")[:TOP_CHOICES]
        states.append(
            _State(
                entropy_nats(logits),
                tuple(top.tolist()),
                tuple(probabilities[top].tolist()),
                logit_variance(logits),
            )
        )
    return states


def _rollouts(
    drafter: Runtime, prompt_tokens: int, output: Ints, states: Sequence[_State], extent: Extent
) -> tuple[list[Rollout], list[Rollout]]:
    """By position: from the drafter's first choice, and from its second."""
    rollouts: list[Rollout] = []
    seconds: list[Rollout] = []
    following = Rollout()
    for position in range(len(output), -1, -1):
        state, true = states[position], output[position : position + 1]
        start = prompt_tokens + position
        found = []
        for rank in range(1 + extent.second_choice):
            token = state.top_tokens[rank]
            rest = following if true == (token,) else _roll(drafter, start, token, extent.depth - 1)
            probabilities = state.top_probabilities
            gap = probabilities[0] - probabilities[1]
            found.append(rest.after(token, state.entropy, probabilities[rank], extent.depth, gap, state.logit_variance))
        following = found[0]
        rollouts.append(following)
        seconds.extend(found[1:])
    return rollouts[::-1], seconds[::-1]


def _roll(drafter: Runtime, position: int, token: int, steps: int) -> Rollout:
    """What follows `token` at `position`; forgets what was cached from there on."""
    tokens, entropies, confidences, margins, variances = [], [], [], [], []
    for at in range(position, position + steps):
        logits = _logits(drafter, at, (token,))
        choice = draft_choice(logits, False, 0, GREEDY, STREAM, at + 1)
        tokens.append(choice.token)
        entropies.append(choice.entropy)
        confidences.append(choice.confidence)
        margins.append(margin(logits))
        variances.append(logit_variance(logits))
        token = choice.token
    return Rollout(tuple(tokens), tuple(entropies), tuple(confidences), tuple(margins), tuple(variances))


def _logits(runtime: Runtime, position: int, feed: Sequence[int]) -> np.ndarray:
    return np.asarray(runtime.forward(REQUEST, position, feed)[0])
