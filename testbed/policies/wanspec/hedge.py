"""When a controller drafts here instead of waiting for its worker: the rules, one object per request.

`ListedHedge` is the paper's (Algorithm 1). `ExpectedHedge` is ours: it compares what is to be expected of the worker
(`outlook`) with a draft step, and may wait longer than that on credit (`credit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from testbed.policies.api import VerifyReady
from testbed.policies.estimates import MovingAverage, RecentMedian
from testbed.policies.wanspec.credit import LatencyCredit
from testbed.policies.wanspec.outlook import MismatchPredictor, Outlook
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.waiting import Waiting, stale_after


class Need(msgspec.Struct, frozen=True, gc=False):
    """What the next target pass still lacks: `missing` of `depth` drafts, the first of them at `position`."""

    position: int
    missing: int
    depth: int


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A target pass is over and the worker is told: the text now ends before `base`."""

    event: VerifyReady
    depth: int
    base: int
    contradicted: bool  # the worker's stream is known to contradict it
    foreseen: bool  # the worker's stream is known to go on from it
    path_logp: float  # nats: the drafter's, of the path before the verdict


class Hedge(Protocol):
    def draft_here(self, need: Need, now: float) -> bool: ...

    @property
    def wake(self) -> float | None:
        """After a no: when to ask again if nothing happens before; None: then it will still be no."""

    def heard(self, level: int, foreseen: bool, now: float) -> None:
        """Drafts down to position `level` arrived that fit the text; `foreseen`: the worker's go on from all of it."""

    def missed(self, position: int, sent: float, base: int, latest: bool) -> None:
        """The worker drafted something else at a validated position; `sent` and `base` tell when it was told what."""

    def verified(self, verdict: Verdict, now: float) -> None: ...


class ListedHedge:
    """Draft here while t_update + R > now. Asks again at the next event only, as the listing does."""

    wake: float | None = None

    def __init__(self, params: WanspecParams, waiting: Waiting, worker: str, now: float) -> None:
        self._params = params
        self._waiting = waiting
        self._worker = worker
        self._t_update = now  # the worker cannot have streamed before it heard of the request

    def draft_here(self, need: Need, now: float) -> bool:
        return self._waiting.worth_drafting(self._worker, self._t_update, now)

    def heard(self, level: int, foreseen: bool, now: float) -> None:
        pass

    def missed(self, position: int, sent: float, base: int, latest: bool) -> None:
        if self._params.contradiction:
            # Whatever the worker drafts until it hears of this token is useless: one round trip after it was sent.
            self._t_update = max(self._t_update, sent)

    def verified(self, verdict: Verdict, now: float) -> None:
        contradicted = verdict.contradicted and self._params.contradiction
        if stale_after(verdict.event, verdict.depth, self._params.phi) or contradicted:
            self._t_update = now


class Learned:
    """What a controller learns over all its requests, for `ExpectedHedge`."""

    def __init__(self) -> None:
        self.predictor = MismatchPredictor()
        self.verify_ms = MovingAverage()
        self.worker_step_ms = RecentMedian(window=31)


class ExpectedHedge:
    """Draft here if the worker's draft is expected later than one made here, by more than the credit there is."""

    def __init__(
        self, params: WanspecParams, waiting: Waiting, learned: Learned, worker: str, now: float, base: int
    ) -> None:
        self._params = params
        self._waiting = waiting
        self._learned = learned
        self._worker = worker
        self._outlook = Outlook(now, base)
        self._credit = None if params.latency_bound is None else LatencyCredit(params.latency_bound, now)
        self._unresolved: tuple[Sequence[float], int] | None = None  # features of a bonus token and its position
        self.wake: float | None = None

    def draft_here(self, need: Need, now: float) -> bool:
        rtt_ms, draft_ms = self._waiting.rtt_ms(self._worker), self._waiting.draft_ms
        if rtt_ms is None or draft_ms is None:
            return True
        step_ms = self._learned.worker_step_ms.value or draft_ms
        expected = self._outlook.expected(need.position, now, rtt_ms, step_ms)
        loss_ms = expected - now - draft_ms
        verify_ms = self._learned.verify_ms.value
        credit_ms = 0.0
        if self._credit is not None and verify_ms is not None:
            credit_ms = max(0.0, self._credit.left_ms(now, need.depth, need.missing, draft_ms, verify_ms))
        if loss_ms > credit_ms:
            return True
        slack = expected + 0.05 * step_ms  # look again soon after it was due
        self.wake = slack if loss_ms <= 0.0 else min(slack, now + credit_ms)
        return False

    def heard(self, level: int, foreseen: bool, now: float) -> None:
        if foreseen:
            self._outlook.agreed()
            self._resolve(mismatched=False)
        step_ms = self._outlook.heard(level, now)
        if step_ms is not None:
            self._learned.worker_step_ms.add(step_ms)

    def missed(self, position: int, sent: float, base: int, latest: bool) -> None:
        if self._unresolved is not None and self._unresolved[1] == position:
            self._resolve(mismatched=True)
        self._outlook.missed(sent, base, latest)

    def verified(self, verdict: Verdict, now: float) -> None:
        event = verdict.event
        self._learned.verify_ms.add(event.duration_ms)
        if self._credit is not None:
            # Before any draft was made here, as it may be where requests share a worker, none is credited.
            self._credit.verified(verdict.depth, self._waiting.draft_ms or 0.0, event.duration_ms)
        self._unresolved = None
        if verdict.contradicted or event.accepted < verdict.depth:
            self._outlook.validated(now, verdict.base, mismatch=1.0)
        elif verdict.foreseen:
            self._outlook.agreed()
        else:
            self._outlook.validated(now, verdict.base, self._mismatch(verdict))

    def _mismatch(self, verdict: Verdict) -> float:
        """Probability that the worker had not foreseen the bonus token."""
        if self._params.mismatch == "entropy":
            return float(stale_after(verdict.event, verdict.depth, self._params.phi))
        predictor = self._learned.predictor
        features = predictor.features(verdict.event.entropies[-1], verdict.path_logp)
        self._unresolved = (features, verdict.base - 1)
        return predictor.probability(features)

    def _resolve(self, mismatched: bool) -> None:
        if self._unresolved is not None:
            self._learned.predictor.learn(self._unresolved[0], mismatched)
            self._unresolved = None
