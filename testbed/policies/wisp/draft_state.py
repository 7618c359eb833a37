"""What a WISP device knows of one request: a stop rule looks at every drafted token and hears what became of it.

How long a draft may be at most is one number, or, past the paper, follows how far the request is from its SLO.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from testbed.policies.api import DraftReady
from testbed.policies.edge.draft_state import EdgeDraftState
from testbed.policies.estimates import RecentMedian
from testbed.policies.session import NONE_KEPT, Prefixes
from testbed.policies.wisp.features import Features, features_of
from testbed.policies.wisp.params import WispParams
from testbed.policies.wisp.stops import StopRule
from testbed.wire.messages import Request


class DraftState(EdgeDraftState):
    def __init__(
        self,
        request: Request,
        params: WispParams,
        rule: StopRule,
        rate_per_s: float | None = None,
        now: float = 0.0,
        prefixes: Prefixes = NONE_KEPT,
    ) -> None:
        super().__init__(request, params.max_draft, params.features, params.send_suspect, prefixes)
        self._rule = rule
        self._draft: list[Features] = []  # the draft under way
        self._asked_ms = now
        self._params = params
        self._rate_per_ms = None if rate_per_s is None else rate_per_s / 1e3
        self._came_ms = now
        self._wait = RecentMedian()
        self._set_longest(now)

    def ends(self, event: DraftReady, place: int) -> bool:
        del self._draft[: len(self._draft) - place]  # an earlier draft, or taken by a verdict
        self._draft += features_of(event, place)
        return self._rule.ends(self._draft, event.duration_ms)

    def ask(self, now: float) -> tuple[int, ...]:
        self._asked_ms = now
        return super().ask(now)

    def answered(self, tokens: Sequence[int], now: float) -> None:
        assert self.asked is not None, "there is no open question"
        waited_ms = now - self._asked_ms
        self._wait.add(waited_ms)
        self._rule.settled(self.asked, len(tokens) - 1, waited_ms)
        super().answered(tokens, now)
        self._set_longest(now)

    def _set_longest(self, now: float) -> None:
        """Of the draft that begins now."""
        by = self._params.lengths
        if by == "even" or self._rate_per_ms is None:
            return
        emitted = len(self.validated) - len(self.request.prompt)
        if by == "slack":
            tokens = emitted - self._rate_per_ms * (now - self._came_ms)
        else:
            tokens = self._rate_per_ms * (now - self._came_ms + (self._wait.value or 0.0)) - emitted
        self.longest = max(1, min(self._params.max_draft, math.ceil(tokens)))
