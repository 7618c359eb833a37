"""Whether the controller should wait for its worker or draft here: R and T_draft as it sees them, and what makes stale.

Rule kept: R is measured, from the time stamps of messages that went to the worker and came back, unless the parameters
fix it; the topology is never read. Before the first measured round trip the controller does not wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.policies.api import VerifyReady
from testbed.policies.estimates import MovingAverage, RecentMedian
from testbed.policies.wanspec.params import WanspecParams


class Waiting:
    def __init__(self, params: WanspecParams, workers: Sequence[str]) -> None:
        self._fixed_rtt_ms = None if params.rtt_ms == "measured" else params.rtt_ms
        self._literal = params.rule == "literal"
        self._rtt_ms = {worker: RecentMedian() for worker in workers}
        self._t_draft_ms = MovingAverage()

    def sample(self, peer: str, rtt_ms: float) -> None:
        """A measured round trip, to a worker or to someone else."""
        if peer in self._rtt_ms:
            self._rtt_ms[peer].add(rtt_ms)

    def drafted(self, duration_ms: float) -> None:
        """A local draft pass took this long."""
        self._t_draft_ms.add(duration_ms)

    def rtt_ms(self, worker: str) -> float | None:
        """R, in milliseconds; None before the first measured round trip."""
        return self._rtt_ms[worker].value if self._fixed_rtt_ms is None else self._fixed_rtt_ms

    @property
    def draft_ms(self) -> float | None:
        """T_draft here, in milliseconds; None before the first local draft pass."""
        return self._t_draft_ms.value

    def worth_drafting(self, worker: str, t_update: float, now: float) -> bool:
        """Is the worker's next usable token too far away?"""
        rtt_ms = self.rtt_ms(worker)
        if rtt_ms is None:
            return True
        away_ms = t_update + rtt_ms - now
        if self._literal:
            return away_ms > 0.0
        return away_ms > (self._t_draft_ms.value or 0.0)


def stale_after(event: VerifyReady, drafts: int, phi: float | None) -> bool:
    """A correction is a sure mismatch; a bonus token is one if the target was unsure of it."""
    return event.accepted < drafts or phi is None or event.entropies[-1] > phi
