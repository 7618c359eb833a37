"""What a device knows of one request: the tokens that were verified, and its own drafts after them.

The first `asked` drafts are at the server; those after them were drafted since, or not sent. A verdict that agrees with
the drafts, correction or bonus token included, leaves the rest of them standing; one that differs makes all void.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.policies.api import Draft, DraftReady
from testbed.policies.session import DraftModel
from testbed.policies.wisp.features import features_of
from testbed.policies.wisp.params import WispParams
from testbed.policies.wisp.stops import StopRule
from testbed.wire.messages import Request


class Text:
    def __init__(self, request: Request, params: WispParams, rule: StopRule) -> None:
        self.request = request
        self.validated = list(request.prompt)
        self.drafts: list[int] = []
        self.asked: int | None = None  # None: nothing is at the server
        self._model = DraftModel()
        self._params = params
        self._rule = rule
        self._suspect = False  # whether the rule ended the draft under way with its last token
        self._voids = 0  # how often the drafts were made void
        self._drafting_after = 0  # that count, when the running pass was asked for
        self._end = len(request.prompt) + request.max_tokens

    @property
    def waiting(self) -> bool:
        return self.asked is not None

    @property
    def drafted_enough(self) -> bool:
        """Whether the draft under way, at the server's or not, ends here."""
        # a verification emits one token more than it accepts: the last token is never worth drafting
        over = len(self.validated) + len(self.drafts) >= self._end - 1
        return over or self._suspect or len(self.drafts) - (self.asked or 0) >= self._params.max_draft

    def draft(self, job: int) -> Draft:
        """One more token."""
        self._drafting_after = self._voids
        return self._model.draft(job, self.request, self.validated, self.drafts, features=self._params.features)

    def drafted(self, event: DraftReady) -> None:
        """A token came out; it counts unless the text it was drafted for has been made void meanwhile."""
        self._model.drafted(event)
        if self._drafting_after != self._voids:
            return
        for token, features in zip(event.tokens, features_of(event, len(self.drafts) - (self.asked or 0)), strict=True):
            self.drafts.append(token)
            self._suspect = self._rule.ends(features)

    def ask(self) -> tuple[int, ...]:
        """What goes to the server; a suspect that does not go stays, as a guess at the correction."""
        kept = self._suspect and not self._params.send_suspect
        self.asked = len(self.drafts) - kept
        self._suspect = False
        return tuple(self.drafts[: self.asked])

    def answered(self, tokens: Sequence[int]) -> None:
        """What the server verified, correction or bonus token last."""
        assert self.asked is not None, "nothing was asked"
        self._rule.settled(self.asked, len(tokens) - 1)
        if self.drafts[: len(tokens)] == list(tokens):
            del self.drafts[: len(tokens)]
            self._suspect = self._suspect and bool(self.drafts)
        else:
            self._voids += 1
            self.drafts, self._suspect = [], False
        self.validated += tokens
        self.asked = None
