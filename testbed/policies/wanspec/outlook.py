"""When a worker's draft of a position is to be expected, as its controller can know it. Ours, beyond the paper.

A worker drafts one level per step from where it last heard of the text, so its stream is a *lineage*: what it says next
follows from what arrived last or, before anything did, from when the message that restarted it was sent. A verdict that
the worker had not foreseen may have ended its lineage; how likely that is comes from `MismatchPredictor`, and what is
expected is the mean over both cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf

LEARNING_RATE = 0.1
MOST_ENTROPY = 4.0  # nats; more does not make a mismatch likelier, and would make one update too large


class Lineage:
    """A worker's unbroken stream: it restarts with level `base` when the message sent at `sent` (ms) reaches it."""

    def __init__(self, sent: float, base: int) -> None:
        self.sent = sent
        self.base = base
        self.level = base - 1  # deepest position that has arrived
        self.heard: float | None = None  # when it did

    def arrival(self, position: int, now: float, rtt_ms: float, step_ms: float) -> float:
        """When the draft of `position` should be here.

        Never in the past: what is overdue may come within one more step, at the risk of two; after that it is not
        expected at all.
        """
        if self.heard is None:
            due = self.sent + rtt_ms + step_ms * (position - self.base + 1)
        else:
            due = self.heard + step_ms * max(1, position - self.level)
        if due + 0.04 * step_ms > now:
            return max(due, now)
        return now + 2.0 * step_ms if due + step_ms > now else inf


class Outlook:
    """One request's worker, seen from its controller. `mismatch`: probability that the lineage has ended unheard."""

    def __init__(self, now: float, base: int) -> None:
        self._lineage = self._restart = Lineage(now, base)
        self._mismatch = 0.0

    def expected(self, position: int, now: float, rtt_ms: float, step_ms: float) -> float:
        """Mean arrival time (ms) of the worker's draft of `position`."""
        foreseen = self._lineage.arrival(position, now, rtt_ms, step_ms)
        if self._mismatch == 0.0:
            return foreseen
        restarted = self._restart.arrival(position, now, rtt_ms, step_ms)
        if inf in (foreseen, restarted):
            return inf
        return foreseen + self._mismatch * (restarted - foreseen)

    def heard(self, level: int, now: float) -> float | None:
        """Drafts down to `level` arrived that fit the text. Returns the worker's step time (ms) if this tells it."""
        lineage = self._lineage
        step = now - lineage.heard if lineage.heard is not None and level == lineage.level + 1 else None
        lineage.heard, lineage.level = now, max(level, lineage.level)
        return step

    def agreed(self) -> None:
        """The worker had foreseen everything validated so far."""
        self._mismatch = 0.0

    def missed(self, sent: float, base: int, latest: bool) -> None:
        """It is certain that the worker needs the message sent at `sent`, which brings the text up to `base`; `latest`
        if no message was sent since."""
        lineage = self._lineage
        if sent > lineage.sent or (sent == lineage.sent and lineage.heard is not None):
            self._lineage = Lineage(sent, base)
            if latest:
                self._mismatch = 0.0

    def validated(self, now: float, base: int, mismatch: float) -> None:
        """A message now tells the worker of the text up to `base`, which ends its lineage with this probability."""
        self._restart = Lineage(now, base)
        if mismatch == 1.0:
            self._lineage, self._mismatch = self._restart, 0.0
        else:
            self._mismatch = 1.0 - (1.0 - self._mismatch) * (1.0 - mismatch)


class MismatchPredictor:
    """Probability that the worker has not foreseen a bonus token.

    Logistic in the target's entropy there (nats) and in the draft probability of the path before it, learned from what
    the workers' streams later show.
    """

    def __init__(self) -> None:
        self._weights = [-1.5, 1.5, 0.0]

    def features(self, entropy: float, path_logp: float) -> tuple[float, float, float]:
        return 1.0, min(entropy, MOST_ENTROPY), 1.0 - exp(path_logp)

    def probability(self, features: Sequence[float]) -> float:
        return 1.0 / (1.0 + exp(-sum(w * x for w, x in zip(self._weights, features, strict=True))))

    def learn(self, features: Sequence[float], mismatched: bool) -> None:
        error = mismatched - self.probability(features)
        self._weights = [w + LEARNING_RATE * error * x for w, x in zip(self._weights, features, strict=True)]
