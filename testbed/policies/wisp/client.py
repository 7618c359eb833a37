"""What the server keeps of one request: its text and caches, its SLO, and what it has seen of its drafts.

A deadline is when the answer must leave the server. The SLO is about the user's clock, but there the tokens before
it came as much later as the next ones will, so the way down the link cancels.
"""

from __future__ import annotations

from typing import Literal

from testbed.policies.api import Finish, Send, Verify, VerifyReady
from testbed.policies.edge.sequence import Sequence
from testbed.policies.estimates import MovingAverage
from testbed.policies.wisp.scheduler import NEVER, Waiting
from testbed.wire.messages import Request

Basis = Literal["average", "whole", "round"]
FIRST_SHARE = 0.8  # of drafts accepted, before any was: the recall that controllers are trained for


class Client:
    def __init__(self, sequence: Sequence, rate_per_s: float | None, now: float) -> None:
        self.sequence = sequence
        self.admitted = False  # whether its memory is its own
        self.since_ms: float | None = None  # when the drafts in `drafts` came; None: none wait
        self.drafts: tuple[int, ...] = ()
        self._asked = -1  # length of the text that the last drafts came after
        self._rate_per_ms = None if rate_per_s is None else rate_per_s / 1e3
        self._share = MovingAverage()
        self._entry: Waiting | None = None  # in the queue; it changes only with what happens to this request
        self._changed = True
        self._last_ms = now  # when its last tokens left, or it came
        self._first_ms: float | None = None  # when its first tokens left
        self._emitted = 0
        self._came_ms = now

    @property
    def request(self) -> Request:
        return self.sequence.request

    def ask(self, position: int, drafts: tuple[int, ...], now: float) -> None:
        """Drafts after `position` tokens of the text: of one position the first, and none of a text that has grown."""
        if position != len(self.sequence.validated) or position <= self._asked:
            return
        self._asked = position
        self.drafts = drafts[: self.sequence.depth(len(drafts))]
        self.since_ms = now
        self._changed = True

    def waiting(self, basis: Basis, most_prefill: int) -> Waiting | None:
        """Its entry in the queue: drafts to verify, or a part of its prompt to feed; None: it waits for nothing."""
        if self._changed:
            self._entry, self._changed = self._waiting(basis, most_prefill), False
        return self._entry

    def _waiting(self, basis: Basis, most_prefill: int) -> Waiting | None:
        uncached = self.sequence.uncached
        cached = len(self.sequence.validated) - uncached
        memory = 0 if self.admitted else self.sequence.reserved
        number = self.request.request
        if uncached - 1 > most_prefill or (self.since_ms is None and uncached > 1):
            since = self._came_ms if self.since_ms is None else self.since_ms
            return Waiting(number, since, min(uncached - 1, most_prefill), cached, 0.0, NEVER, memory)
        if self.since_ms is None:
            return None
        expected = len(self.drafts) * (FIRST_SHARE if self._share.value is None else self._share.value) + 1
        new = uncached + len(self.drafts)
        return Waiting(number, self.since_ms, new, cached, expected, self._deadline_ms(basis, expected), memory)

    def feed(self, job: int, most_prefill: int) -> Verify:
        """The job of that entry."""
        self._changed = True
        uncached = self.sequence.uncached
        if uncached - 1 > most_prefill or self.since_ms is None:
            return self.sequence.prefill(job, min(uncached - 1, most_prefill))
        drafts, self.drafts, self.since_ms = self.drafts, (), None
        return self.sequence.verify(job, drafts, remote_drafts=len(drafts))

    def settle(self, ready: VerifyReady, drafts: int, now: float) -> list[Send | Finish]:
        """Take its part of a pass in; returns what its device is sent."""
        self._changed = True
        if ready.tokens:
            self._answered(ready, drafts, now)
        return self.sequence.settle(ready)

    def _answered(self, ready: VerifyReady, drafts: int, now: float) -> None:
        """A verdict leaves for the device."""
        if drafts:
            self._share.add(ready.accepted / drafts)
        if self._first_ms is None:
            self._first_ms = now
        self._last_ms = now
        self._emitted += len(ready.tokens)

    def _deadline_ms(self, basis: Basis, expected: float) -> float:
        if self._rate_per_ms is None:
            return NEVER
        if basis == "whole":
            return self._came_ms + (self._emitted + expected) / self._rate_per_ms
        if basis == "average" and self._first_ms is not None:
            # (tokens - 1) / (end - first token) is the rate a user sees: the first token starts the clock
            return self._first_ms + (self._emitted + expected - 1) / self._rate_per_ms
        return self._last_ms + expected / self._rate_per_ms
