"""One request at a batching server: a session whose text may be fed in parts, and what memory it may come to hold."""

from __future__ import annotations

from testbed.policies.api import Finish, Send, Verify, VerifyReady
from testbed.policies.session import NONE_KEPT, Prefixes, Session
from testbed.wire.messages import Request


class Sequence(Session):
    def __init__(self, request: Request, user: str, prefixes: Prefixes = NONE_KEPT) -> None:
        super().__init__(request, user, prefixes)
        # the most it can ever cache; a server knows the limit a request came with, not the length it will have
        self.reserved = len(request.prompt) + request.max_tokens
        self.done = False  # whether all its output is on the way

    @property
    def uncached(self) -> int:
        """Tokens that a verification without drafts would feed."""
        return len(self.validated) - self._cache.shared(self.validated)

    def prefill(self, job: int, most: int) -> Verify:
        """Feed `most` of the uncached tokens, fewer than there are; no verdict is wanted."""
        position, tokens = self._cache.plan(self.validated)
        if not 1 <= most < len(tokens):
            raise ValueError(f"a prefill feeds a part of the text: {most} of {len(tokens)} tokens is none")
        request = self.request
        self._running = Verify(job, request.request, position, tokens[:most], 0, request.sampling, prefill=True)
        return self._running

    def settle(self, event: VerifyReady) -> list[Send | Finish]:
        """Take its part of a pass in, which may have been a prefill; returns what its user is sent."""
        if event.tokens:
            settled = self.verified(event)
            self.done = settled.final
            return self.answer(settled)
        assert self._running is not None and self._running.job == event.job
        self._cache.fed(self._running.position, self._running.tokens)
        self._running = None
        return []
