"""The draft model's cache of one request whose drafts are a tree, and the one job that may be changing it.

The device is told what to feed so that only the text stays in its cache; what it is charged for is what a device that
keeps the tree as well, and moves an accepted branch to the end of the text, would still have to process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.decoding.cacheview import CacheView
from testbed.policies.api import DraftTree, TreeDraftReady
from testbed.policies.wanspec.tree import Node, Tree, ancestry, shape
from testbed.wire.messages import Open, Request


class TreeDraftModel:
    def __init__(self) -> None:
        self._cache = CacheView()
        self._held = 0  # leading tokens of the text that a device which keeps trees would hold
        self._running: DraftTree | None = None
        self._leaves: Sequence[Node] = ()

    def draft(
        self,
        job: int,
        request: Request | Open,
        validated: Sequence[int],
        tree: Tree,
        leaves: Sequence[Node],
        width: int,
        catch_up: int | None = None,
    ) -> DraftTree:
        """One batched pass over `leaves`; beyond the prompt, no more than `catch_up` tokens a pass."""
        position, tokens = self._cache.plan(validated)
        nodes = ancestry(tree.root, leaves)
        feed, parents, index = shape(nodes)
        fresh = len(validated) - self._held + sum(not node.fed for node in nodes)
        most = catch_up if catch_up is not None and self._held >= len(request.prompt) else 0
        for node in nodes:
            node.fed = True
        self._held = len(validated)
        self._leaves = leaves
        ends = tuple(index.get(leaf, -1) for leaf in leaves)
        # A leaf whose own logits were not kept is fed again: a pass processes one token at least.
        self._running = DraftTree(
            job, request.request, position, tokens, feed, parents, ends, width, max(1, fresh), most
        )
        return self._running

    def drafted(self, event: TreeDraftReady) -> Sequence[Node]:
        """The pass is done; returns the leaves it drafted from."""
        assert self._running is not None and self._running.job == event.job
        self._cache.fed(self._running.position, self._running.tokens)
        self._running = None
        return self._leaves

    def advanced(self, passed: Iterable[Node]) -> None:
        """These nodes became text."""
        for node in passed:
            if node.fed:
                self._held = max(self._held, node.position + 1)
