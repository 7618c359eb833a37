"""How good a rejection predictor is, in WISP's terms: scores in, rates out.

The *false-accept rate* is the share of rejected tokens that were predicted acceptable: what makes a device draft on for
nothing. *Recall* is the share of accepted tokens that were predicted acceptable: the rest end drafts too early.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from testbed.errors import BadInput
from testbed.training.controllers.dataset import Labels

Scores = np.ndarray[Any, np.dtype[np.float64]]


HIGH_RECALL = 0.93  # of the tree ensembles that WISP holds its network against


class Quality(NamedTuple):
    false_accept_rate: float
    recall: float
    auc: float
    tokens: int
    false_accept_at_high_recall: float  # what the false-accept rate would be at a recall of HIGH_RECALL


def threshold_for(scores: Scores, accepted: Labels, recall: float) -> float:
    """The largest threshold at which at least this share of accepted tokens score no less."""
    if not accepted.any():
        raise BadInput("no drafted token of these prompts was accepted, so no threshold can be chosen")
    ordered = np.sort(scores[accepted])[::-1]
    return float(ordered[max(0, int(np.ceil(recall * len(ordered))) - 1)])


def quality(scores: Scores, accepted: Labels, threshold: float) -> Quality:
    """`scores` are higher for tokens that are likelier to be accepted. Raises BadInput where a class is missing."""
    if accepted.all() or not accepted.any():
        raise BadInput("all drafted tokens of these prompts have the same label, so there is no rate; use more prompts")
    kept = scores >= threshold
    at_high = scores >= threshold_for(scores, accepted, HIGH_RECALL)
    return Quality(
        float(kept[~accepted].mean()),
        float(kept[accepted].mean()),
        auc(scores, accepted),
        len(scores),
        float(at_high[~accepted].mean()),
    )


def auc(scores: Scores, accepted: Labels) -> float:
    """Probability that an accepted token scores higher than a rejected one; a tie counts half."""
    values, group = np.unique(scores, return_inverse=True)
    rejected = np.bincount(group[~accepted], minlength=len(values))
    below = np.cumsum(rejected) - rejected / 2
    return float(below[group[accepted]].sum() / (accepted.sum() * (~accepted).sum()))
