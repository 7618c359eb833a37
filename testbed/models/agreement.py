"""How far a drafter agrees with a target's greedy output, position by position, and what follows for any draft length.

Greedy output does not depend on drafting, so one teacher-forced drafter pass a prompt gives the acceptance of every
policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.decoding.processing import entropy_nats
from testbed.models.compute import Runtime, on_host
from testbed.models.reference import Reference, target_only
from testbed.models.runtime import CausalRuntime

REQUEST = 0


@dataclass(frozen=True)
class Agreement:
    """One prompt: the target's greedy output, where the drafter would have said the same, and how unsure it was."""

    reference: Reference
    agrees: tuple[bool, ...]
    drafter_entropies: tuple[float, ...]


def agreement(target: CausalRuntime, drafter: CausalRuntime, prompt: Sequence[int], max_tokens: int) -> Agreement:
    """Decode greedily (past any end of text), then ask the drafter for each token of the result."""
    return judge(drafter, prompt, target_only(target, prompt, max_tokens))


def judge(drafter: Runtime, prompt: Sequence[int], reference: Reference) -> Agreement:
    """The drafter's choice at every position of a known greedy output."""
    count = len(reference.tokens)
    drafter.release(REQUEST)
    logits = on_host(drafter.forward(REQUEST, 0, [*prompt, *reference.tokens[:-1]], last=count))
    drafter.release(REQUEST)
    choices = logits.argmax(-1).tolist()
    agrees = tuple(ours == theirs for ours, theirs in zip(choices, reference.tokens, strict=True))
    return Agreement(reference, agrees, tuple(entropy_nats(row) for row in logits))


def acceptance(agreements: Iterable[Agreement]) -> float:
    """Share of positions at which the drafter's greedy token is the target's."""
    flags = [flag for one in agreements for flag in one.agrees]
    return sum(flags) / len(flags)


def tokens_per_round(agreements: Iterable[Agreement], k: int) -> float:
    """Mean tokens emitted a round with `k` drafts: accepted drafts + the correction or bonus token.

    Rounds cut short by the end of the recording are left out.
    """
    rounds = tokens = 0
    for one in agreements:
        start = 0
        while start + k <= len(one.agrees):
            window = one.agrees[start : start + k]
            accepted = window.index(False) if False in window else k
            rounds += 1
            tokens += accepted + 1
            start += accepted + 1
    return tokens / rounds if rounds else float("nan")


def rejection_auc(agreements: Iterable[Agreement]) -> float | None:
    """Probability that a rejected position has higher drafter entropy than an accepted one; None if all are alike."""
    pairs = [pair for one in agreements for pair in zip(one.drafter_entropies, one.agrees, strict=True)]
    scores = np.array([score for score, _ in pairs])
    rejected = np.array([not agrees for _, agrees in pairs])
    return area_under_roc(scores, rejected)


def area_under_roc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    """Mann-Whitney form of the area under the ROC curve, ties counted half."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # mean rank of each score's ties, from 1
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
