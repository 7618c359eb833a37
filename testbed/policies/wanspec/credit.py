"""How much time a request may lose to waiting: what it is ahead of co-located speculation. Ours, beyond the paper.

Rule kept: from the request's arrival on, the time taken stays within `bound` times what co-located speculation with the
same verdicts and step times would have taken. Drafts that come from a worker in time earn credit, one draft pass each;
waiting in vain spends it; without credit the controller drafts here, as co-located speculation does.
"""

from __future__ import annotations


class LatencyCredit:
    def __init__(self, bound: float, opened: float) -> None:
        self._bound = bound
        self._opened = opened
        self._colocated_ms = 0.0

    def verified(self, drafts: int, draft_ms: float, verify_ms: float) -> None:
        """A round is over: co-located speculation would have drafted as many tokens here."""
        self._colocated_ms += drafts * draft_ms + verify_ms

    def left_ms(self, now: float, drafts: int, missing: int, draft_ms: float, verify_ms: float) -> float:
        """What may still be lost in a round of `drafts` if all that is `missing` of them is drafted here in the end."""
        allowed = self._bound * (self._colocated_ms + drafts * draft_ms + verify_ms)
        return allowed - (now - self._opened + missing * draft_ms + verify_ms)
