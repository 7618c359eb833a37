"""What a speculation controller knows of one drafted token: five numbers, all of the drafter's own distribution.

WISP (arXiv 2601.11652) names confidence, entropy, margin and logit variance, and a table of it has five inputs; that
the fifth is the position in the draft is our reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from testbed.policies.api import DraftReady


class Features(NamedTuple):
    """In the order a classifier's weights have. `margin` and `logit_variance` are NaN unless requested."""

    confidence: float  # probability of the token
    entropy: float  # nats
    margin: float  # largest minus second largest probability
    logit_variance: float
    position: int  # 0 is the draft's first token


NAMES = Features._fields
NOT_ASKED = float("nan")


def features_of(event: DraftReady, first: int) -> list[Features]:
    """One entry per token of the event; `first` is the place in the draft of the first of them."""
    count = len(event.tokens)
    margins: Sequence[float] = event.margins or (NOT_ASKED,) * count
    variances: Sequence[float] = event.logit_variances or (NOT_ASKED,) * count
    return [
        Features(event.confidences[at], event.entropies[at], margins[at], variances[at], first + at)
        for at in range(count)
    ]
