"""The draft model's cache of one request, and the one job that may be changing it: of a path, or of a tree.

A path, the tree of one branch, is drafted by passes of one request, which every model can do. A tree is drafted by
batched passes: the device is told what to feed so that only the text stays in its cache; what it is charged for is what
a device that keeps the tree as well, and moves an accepted branch to the end of the text, would still have to process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from testbed.decoding.cacheview import CacheView
from testbed.policies.api import Draft, DraftReady, DraftTree, TreeDraftReady
from testbed.policies.session import NONE_KEPT, DraftModel, Prefixes
from testbed.policies.wanspec.tree import Node, Tree, ancestry, shape
from testbed.wire.messages import Open, Request

# Of one leaf: what the pass chose after it, best first, with probabilities, and the drafter's entropy (nats) there.
Drafted = tuple[Node, tuple[int, ...], tuple[float, ...], float]


class Drafting(Protocol):
    def draft(
        self,
        job: int,
        request: Request | Open,
        validated: Sequence[int],
        tree: Tree,
        leaves: Sequence[Node],
        width: int,
        catch_up: int | None = None,
    ) -> Draft | DraftTree:
        """One pass over `leaves`; beyond the prompt, no more than `catch_up` tokens a pass."""

    def drafted(self, event: DraftReady | TreeDraftReady) -> Sequence[Drafted]:
        """The pass is done."""

    def advanced(self, passed: Iterable[Node]) -> None:
        """These nodes became text."""


def drafting(branches: int, prefixes: Prefixes = NONE_KEPT) -> Drafting:
    """Of one request, whose tree has so many branches."""
    return PathDrafting(prefixes) if branches == 1 else TreeDrafting(prefixes)


class PathDrafting:
    def __init__(self, prefixes: Prefixes) -> None:
        self._model = DraftModel(prefixes)
        self._leaf: Node | None = None

    def draft(
        self,
        job: int,
        request: Request | Open,
        validated: Sequence[int],
        tree: Tree,
        leaves: Sequence[Node],
        width: int,
        catch_up: int | None = None,
    ) -> Draft:
        assert tree.is_path and width == 1, "one branch"
        (self._leaf,) = leaves
        return self._model.draft(job, request, validated, tree.tokens(), catch_up=catch_up)

    def drafted(self, event: DraftReady | TreeDraftReady) -> Sequence[Drafted]:
        assert type(event) is DraftReady and self._leaf is not None
        self._model.drafted(event)
        return ((self._leaf, event.tokens, event.confidences, event.entropies[0]),)

    def advanced(self, passed: Iterable[Node]) -> None:
        pass


class TreeDrafting:
    def __init__(self, prefixes: Prefixes) -> None:
        self._cache = CacheView(prefixes.get("draft"))
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
        position, tokens = self._cache.plan(validated)
        self._held = max(self._held, position)  # a kept prefix is cached before anything was fed
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

    def drafted(self, event: DraftReady | TreeDraftReady) -> Sequence[Drafted]:
        assert type(event) is TreeDraftReady and self._running is not None and self._running.job == event.job
        self._cache.fed(self._running.position, self._running.tokens)
        self._running = None
        return list(zip(self._leaves, event.tokens, event.probabilities, event.entropies, strict=True))

    def advanced(self, passed: Iterable[Node]) -> None:
        for node in passed:
            if node.fed:
                self._held = max(self._held, node.position + 1)
