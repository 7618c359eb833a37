"""One request at the node that runs the target: what is validated, what the caches hold, when the output ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from testbed.decoding.cacheview import CacheView
from testbed.decoding.output import Cut, cut
from testbed.decoding.rows import SparseRow
from testbed.policies.api import Draft, DraftReady, Finish, Send, Verify, VerifyReady, VerifyTree
from testbed.wire.messages import Open, Request, Tokens

Prefixes = Mapping[str, Callable[[Sequence[int]], int]]  # `RoleContext.prefixes`
NONE_KEPT: Prefixes = {}


class DraftModel:
    """The draft model's cache of one request, and the one job that may be changing it."""

    def __init__(self, prefixes: Prefixes = NONE_KEPT) -> None:
        self._cache = CacheView(prefixes.get("draft"))
        self._running: Draft | None = None

    def draft(
        self,
        job: int,
        request: Request | Open,
        validated: Sequence[int],
        path: Sequence[int],
        steps: int = 1,
        sampled: bool = False,
        top_q: int = 0,
        catch_up: int | None = None,
        features: bool = False,
    ) -> Draft:
        """Draft `steps` tokens after `validated` + `path`; beyond the prompt, feed no more than `catch_up` a pass."""
        position, tokens = self._cache.plan(validated, path)
        most = catch_up if catch_up is not None and position >= len(request.prompt) else 0
        self._running = Draft(
            job, request.request, position, tokens, steps, sampled, top_q, request.sampling, most, features
        )
        return self._running

    def drafted(self, event: DraftReady) -> None:
        assert self._running is not None and self._running.job == event.job
        self._cache.fed(self._running.position, self._running.tokens, event.tokens)
        self._running = None


class Session:
    """Owns the validated tokens: only a verdict appends to them, cut where the output ends."""

    def __init__(self, request: Request, user: str, prefixes: Prefixes = NONE_KEPT) -> None:
        self.request = request
        self.validated = list(request.prompt)
        self.draft_model = DraftModel(prefixes)
        self._user = user
        self._end = len(request.prompt) + request.max_tokens
        self._cache = CacheView(prefixes.get("target"))
        self._held = 0  # leading validated tokens of a target cache that keeps what was accepted of a tree
        self._running: Verify | VerifyTree | None = None

    @property
    def remaining(self) -> int:
        """Tokens this request may still emit."""
        return self._end - len(self.validated)

    def depth(self, k: int) -> int:
        """How many drafts are worth verifying: a round emits one token more than it accepts, and never too many."""
        most = self._end - len(self.validated) - 1
        return k if k < most else most

    def verify_tree(
        self, job: int, nodes: tuple[int, ...], parents: tuple[int, ...], depth: int, remote_drafts: int = 0
    ) -> VerifyTree:
        """Verify a tree of drafts below the validated tokens."""
        position, tokens = self._cache.plan(self.validated)
        self._held = max(self._held, position)  # a kept prefix is cached before anything was fed
        request, fresh = self.request, len(self.validated) - self._held + len(nodes)
        self._running = VerifyTree(
            job, request.request, position, tokens, nodes, parents, depth, fresh, request.sampling, remote_drafts
        )
        return self._running

    def verify(
        self, job: int, drafts: Sequence[int] = (), rows: tuple[SparseRow, ...] = (), remote_drafts: int = 0
    ) -> Verify:
        position, tokens = self._cache.plan(self.validated, drafts, fresh=len(drafts) + 1)
        request = self.request
        self._running = Verify(
            job, request.request, position, tokens, len(drafts), request.sampling, rows, remote_drafts
        )
        return self._running

    def verified(self, event: VerifyReady) -> Cut:
        """Take a verdict in; returns what of it is output."""
        assert self._running is not None and self._running.job == event.job
        self._cache.fed(self._running.position, self._running.tokens)
        self._running = None
        self._held = len(self.validated) + event.accepted
        settled = cut(event.tokens, event.accepted, self.remaining, self.request.eos)
        self.validated.extend(settled.tokens)
        return settled

    def answer(self, settled: Cut) -> list[Send | Finish]:
        """Deliver what was just verified to the user; the last delivery also frees this node's caches."""
        number, position = self.request.request, len(self.validated) - len(settled.tokens)
        sent = Send(self._user, Tokens(number, position, settled.tokens, settled.final))
        return [sent, Finish(number)] if settled.final else [sent]
