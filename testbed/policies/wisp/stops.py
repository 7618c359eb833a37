"""When a device stops drafting and asks for verification: rules behind one interface.

A rule is asked after each drafted token whether the draft ends with it, and told afterwards what became of the draft.
The length limit is not a rule's business but the device's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from testbed.policies.estimates import MovingAverage, RecentMedian
from testbed.policies.wisp.classifier import Classifier
from testbed.policies.wisp.features import Features


class StopRule(Protocol):
    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        """Whether the draft ends with its last token, which took so long."""
        ...

    def settled(self, drafted: int, accepted: int, waited_ms: float) -> None:
        """The target accepted so many of a draft's tokens, and its verdict was so long in coming."""
        ...


class FixedLength:
    """No rule at all: drafts are as long as the device allows."""

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        return False

    def settled(self, drafted: int, accepted: int, waited_ms: float) -> None:
        pass


class Confidence(FixedLength):
    """SLED (arXiv 2506.09397): a token below a confidence ends the draft."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        return draft[-1].confidence < self._threshold


class Entropy(FixedLength):
    """SVIP (arXiv 2411.18462): a token drawn from a distribution with more entropy (nats) ends the draft."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        return draft[-1].entropy > self._threshold


class AdaEdl:
    """AdaEDL (arXiv 2410.18351): ends where 1 - sqrt(g·H), a lower bound on acceptance, is below an adapting λ.

    λ rises by `STEP` when fewer drafts than `TARGET` were accepted of late, and falls otherwise, both smoothed. g and
    the four constants are the paper's.
    """

    G = 0.2
    TARGET = 0.9
    STEP = 0.01
    ACCEPTANCE_WEIGHT = 0.5  # of the past, in the running acceptance
    LAMBDA_WEIGHT = 0.9  # of the past, in λ

    def __init__(self, first_lambda: float) -> None:
        self.limit = first_lambda
        self._acceptance: float | None = None

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        return 1.0 - math.sqrt(self.G * draft[-1].entropy) < self.limit

    def settled(self, drafted: int, accepted: int, waited_ms: float) -> None:
        if drafted == 0:
            return
        share = accepted / drafted
        past = self.ACCEPTANCE_WEIGHT
        self._acceptance = share if self._acceptance is None else past * self._acceptance + (1 - past) * share
        aim = self.limit + (self.STEP if self._acceptance < self.TARGET else -self.STEP)
        self.limit = self.LAMBDA_WEIGHT * self.limit + (1 - self.LAMBDA_WEIGHT) * aim


class Predicted(FixedLength):
    """WISP: a trained classifier predicts that the token is the first rejection."""

    def __init__(self, classifier: Classifier, threshold: float | None = None) -> None:
        self._classifier = classifier
        self._threshold = classifier.threshold if threshold is None else threshold

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        return self._classifier.probability(draft[-1]) < self._threshold


class Gain:
    """Past the paper: ends where one more token would lower the tokens a second that the round is expected to bring.

    A round of d drafts brings E = 1 + Σ S_i tokens, S_i = p_1 ⋯ p_i with the classifier's probabilities, and takes
    T = wait + d · step. The wait for a verdict is the round trip, the queue and the pass, as this device saw them of
    late. (E + S_d·q) / (T + step) < E / T, that is S_d·q·T < E·step, ends it; q stands for the next token, which is not
    known yet: the share accepted of late. So who waits long drafts long, since each round costs the wait once.
    """

    FIRST_SHARE = 0.8  # before any verdict: the recall that controllers are trained for

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._share = MovingAverage()
        self._wait = RecentMedian()

    def ends(self, draft: Sequence[Features], step_ms: float) -> bool:
        alive, tokens = 1.0, 1.0
        for token in draft:
            alive *= self._classifier.probability(token)
            tokens += alive
        if self._wait.value is None:  # nothing to weigh a token against yet
            return alive < self._classifier.threshold
        takes_ms = self._wait.value + len(draft) * step_ms
        share = self.FIRST_SHARE if self._share.value is None else self._share.value
        return alive * share * takes_ms < tokens * step_ms

    def settled(self, drafted: int, accepted: int, waited_ms: float) -> None:
        self._wait.add(waited_ms)
        if drafted:
            self._share.add(accepted / drafted)
