"""When a device stops drafting and asks for verification: rules behind one interface.

A rule is asked after each drafted token whether the draft ends with it, and told afterwards what became of the draft.
Only AdaEDL listens to the latter. The length limit is not a rule's business but the device's.
"""

from __future__ import annotations

import math
from typing import Protocol

from testbed.policies.wisp.classifier import Classifier
from testbed.policies.wisp.features import Features


class StopRule(Protocol):
    def ends(self, token: Features) -> bool:
        """Whether the draft ends with this token."""
        ...

    def settled(self, drafted: int, accepted: int) -> None:
        """The target accepted so many of a draft's tokens."""
        ...


class FixedLength:
    """No rule at all: drafts are as long as the device allows."""

    def ends(self, token: Features) -> bool:
        return False

    def settled(self, drafted: int, accepted: int) -> None:
        pass


class Confidence(FixedLength):
    """SLED (arXiv 2506.09397): a token below a confidence ends the draft."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def ends(self, token: Features) -> bool:
        return token.confidence < self._threshold


class Entropy(FixedLength):
    """SVIP (arXiv 2411.18462): a token drawn from a distribution with more entropy (nats) ends the draft."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def ends(self, token: Features) -> bool:
        return token.entropy > self._threshold


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

    def ends(self, token: Features) -> bool:
        return 1.0 - math.sqrt(self.G * token.entropy) < self.limit

    def settled(self, drafted: int, accepted: int) -> None:
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

    def ends(self, token: Features) -> bool:
        return self._classifier.probability(token) < self._threshold
