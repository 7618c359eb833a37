"""What a device knows of one request: the tokens that were verified, and its own drafts after them.

The first `asked` drafts are at the server; those after them were drafted while waiting. A verdict that agrees with the
drafts, bonus token included, leaves the rest of them standing; one that differs anywhere makes all of them void.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.decoding.output import Cut, cut
from testbed.policies.api import DraftReady
from testbed.policies.session import DraftModel
from testbed.policies.sled.params import SledParams
from testbed.wire.messages import Request


class Text:
    def __init__(self, request: Request, params: SledParams) -> None:
        self.request = request
        self.validated = list(request.prompt)
        self.drafts: list[int] = []
        self.asked: int | None = None  # None: nothing is at the server
        self.failures = 0  # time-outs in a row
        self.model = DraftModel()
        self._confidences: list[float] = []
        self._voids = 0  # how often the drafts were made void
        self._drafting_after: int | None = None  # that count, when the running pass was asked for
        self._end = len(request.prompt) + request.max_tokens
        self._params = params

    @property
    def waiting(self) -> bool:
        return self.asked is not None

    @property
    def drafted_enough(self) -> bool:
        """Whether the draft under way, at the server's or not, ends here."""
        draft = self._confidences[self.asked or 0 :]
        # a verification emits one token more than it accepts: the last token is never worth drafting
        over = len(self.validated) + len(self.drafts) >= self._end - 1
        return over or len(draft) >= self._params.max_draft or (bool(draft) and draft[-1] < self._params.threshold)

    def started(self) -> None:
        """A pass is drafting the next token."""
        self._drafting_after = self._voids

    def drafted(self, event: DraftReady) -> None:
        """A token came out; it counts unless the text it was drafted for has been made void meanwhile."""
        self.model.drafted(event)
        if self._drafting_after == self._voids:
            self.drafts += event.tokens
            self._confidences += event.confidences
        self._drafting_after = None

    def ask(self) -> tuple[int, ...]:
        """All drafts go to the server."""
        self.asked = len(self.drafts)
        return tuple(self.drafts)

    def answered(self, tokens: Sequence[int]) -> None:
        """What the server verified, correction or bonus token last."""
        if self.drafts[: len(tokens)] == list(tokens):
            del self.drafts[: len(tokens)], self._confidences[: len(tokens)]
        else:
            self._voids += 1
            self.drafts, self._confidences = [], []
        self.validated += tokens
        self.asked = None
        self.failures = 0

    def released(self) -> Cut:
        """The drafts become text unverified; returns what of it is output. What was asked of the server is void."""
        given = cut(self.drafts, 0, self._end - len(self.validated), self.request.eos)
        self.validated += given.tokens
        self.drafts, self._confidences = [], []
        self.asked = None
        self.failures = 0
        return given

    def rest(self) -> Request:
        """The request as it stands: its text so far is the prompt."""
        request = self.request
        left = self._end - len(self.validated)
        return Request(request.request, tuple(self.validated), left, request.sampling, request.eos)
