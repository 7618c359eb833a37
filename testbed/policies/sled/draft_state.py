"""What a SLED device knows of one request; with `fall_back` it may emit unverified drafts."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.decoding.output import Cut, cut
from testbed.policies.api import DraftReady
from testbed.policies.edge.draft_state import EdgeDraftState
from testbed.policies.session import NONE_KEPT, Prefixes
from testbed.policies.sled.params import SledParams
from testbed.wire.messages import Request


class DraftState(EdgeDraftState):
    def __init__(self, request: Request, params: SledParams, prefixes: Prefixes = NONE_KEPT) -> None:
        super().__init__(request, params.max_draft, prefixes=prefixes)
        self.failures = 0  # timeouts in a row
        self._threshold = params.threshold

    def ends(self, event: DraftReady, place: int) -> bool:
        return event.confidences[0] < self._threshold

    def answered(self, tokens: Sequence[int], now: float) -> None:
        super().answered(tokens, now)
        self.failures = 0

    def released(self) -> Cut:
        """The drafts become text unverified; returns what of it is output. What was asked of the server is void."""
        given = cut(self.drafts, 0, self._end - len(self.validated), self.request.eos)
        self.validated += given.tokens
        self.drafts, self._last = [], []  # a token being drafted goes on after them, so it still counts
        self.asked = None
        self.failures = 0
        return given

    def rest(self) -> Request:
        """The request as it stands: its text so far is the prompt."""
        request = self.request
        left = self._end - len(self.validated)
        return Request(request.request, tuple(self.validated), left, request.sampling, request.eos)
