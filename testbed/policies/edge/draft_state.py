"""What a user's own device knows of one request: the tokens that were verified, and its drafts after them.

The first `asked` drafts are at the server; those after them were drafted since, or held back. A verdict that agrees
with the drafts, correction or bonus token included, leaves the rest of them standing; one that differs makes all void.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from testbed.policies.api import Draft, DraftReady
from testbed.policies.session import NONE_KEPT, DraftModel, Prefixes
from testbed.wire.messages import Request


class EdgeDraftState(ABC):
    """A policy says which token ends a draft. `send_last`: that token goes to the server too."""

    def __init__(
        self,
        request: Request,
        max_draft: int,
        features: bool = False,
        send_last: bool = True,
        prefixes: Prefixes = NONE_KEPT,
    ) -> None:
        self.request = request
        self.validated = list(request.prompt)
        self.drafts: list[int] = []
        self.asked: int | None = None  # None: nothing is at the server
        self.longest = max_draft
        self._model = DraftModel(prefixes)
        self._features = features
        self._send_last = send_last
        self._last: list[bool] = []  # of each draft, whether it ends the draft under way
        self._voids = 0  # how often the drafts were made void
        self._drafting_after = 0  # that count, when the running pass was asked for
        self._end = len(request.prompt) + request.max_tokens

    @abstractmethod
    def ends(self, event: DraftReady, place: int) -> bool:
        """Whether the draft ends with this token, its `place`-th from 0."""

    @property
    def waiting(self) -> bool:
        return self.asked is not None

    @property
    def length(self) -> int:
        """Tokens of the draft under way, at the server's not counted."""
        return len(self.drafts) - (self.asked or 0)

    @property
    def drafted_enough(self) -> bool:
        """Whether the draft under way ends here."""
        # a verification emits one token more than it accepts: the last token is never worth drafting
        drafted = len(self.drafts)
        if len(self.validated) + drafted >= self._end - 1:
            return True
        length = drafted - (self.asked or 0)
        return length >= self.longest or (length > 0 and self._last[-1])

    def draft(self, job: int) -> Draft:
        """One more token."""
        self._drafting_after = self._voids
        return self._model.draft(job, self.request, self.validated, self.drafts, features=self._features)

    def drafted(self, event: DraftReady) -> None:
        """A token came out; it counts unless the text it was drafted for has been made void meanwhile."""
        self._model.drafted(event)
        if self._drafting_after == self._voids:
            self._last.append(self.ends(event, self.length))
            self.drafts += event.tokens

    def ask(self, now: float) -> tuple[int, ...]:
        """What goes to the server; a last token that does not go stays, as a guess at the correction."""
        kept = not self._send_last and self.length > 0 and self._last[-1]
        if kept:
            self._last[-1] = False
        self.asked = len(self.drafts) - kept
        return tuple(self.drafts[: self.asked])

    def answered(self, tokens: Sequence[int], now: float) -> None:
        """What the server verified, correction or bonus token last."""
        if self.drafts[: len(tokens)] == list(tokens):
            del self.drafts[: len(tokens)], self._last[: len(tokens)]
        else:
            self._voids += 1
            self.drafts, self._last = [], []
        self.validated += tokens
        self.asked = None
