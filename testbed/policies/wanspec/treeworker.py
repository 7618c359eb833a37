"""WANSpec's worker with branches: grows a tree and streams every node at once (Algorithm 2).

A pass drafts from the `leaves` most probable leaves together, by joint draft probability, and gives each one child, or
up to `branches` where the drafter's entropy is at least theta. A validation cuts the tree to what agrees with it; one
that contradicts or outruns the tree leaves only its last token, and drafting goes on from there.

It stops only when no leaf may grow (look-ahead bound, the request's end), or when the tree is full and deep enough to
be verified; the controller can then go on, and its next validation makes room.
"""

from __future__ import annotations

from heapq import nlargest

from testbed.policies.api import Command, DraftTree, RoleContext, Send, TreeDraftReady
from testbed.policies.wanspec.follower import Followed, Follower
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.tree import UNNUMBERED, Node, Tree
from testbed.policies.wanspec.treedraft import TreeDraftModel
from testbed.wire.messages import Branches, Open, Validation


class _Request(Followed):
    def __init__(self, opened: Open, controller: str) -> None:
        super().__init__(opened, controller)
        self.tree = Tree(self.validated)
        self.draft_model = TreeDraftModel()
        self.streamed = 0  # nodes so far

    def validate(self, validation: Validation) -> None:
        super().validate(validation)
        self.draft_model.advanced(self.tree.advance(validation.tokens))


class TreeWorker(Follower[_Request, TreeDraftReady]):
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        super().__init__()
        self._params = params

    def _opened(self, opened: Open, controller: str) -> _Request:
        return _Request(opened, controller)

    def _next(self, state: _Request, job: int) -> DraftTree | None:
        tree, params = state.tree, self._params
        last = min(tree.root.position + params.max_lookahead, state.end - 1)  # where the deepest node may be
        growing = [leaf for leaf in tree.leaves() if leaf.position < last]
        if not growing:
            return None
        wanted = min(params.k, last - tree.root.position)
        if tree.size() >= params.max_nodes and tree.depth(wanted) == wanted:
            return None
        leaves = nlargest(params.leaves, growing, key=_by_probability)
        return state.draft_model.draft(job, state.opened, state.validated, tree, leaves, params.branches)

    def _drafted(self, state: _Request, event: TreeDraftReady) -> list[Command]:
        first, position = state.streamed, len(state.validated)
        parents: list[int] = []
        tokens: list[int] = []
        probabilities: list[float] = []
        leaves = state.draft_model.drafted(event)
        for leaf, choices, chances, entropy in zip(
            leaves, event.tokens, event.probabilities, event.entropies, strict=True
        ):
            if not state.tree.holds(leaf):  # cut, or validated and passed, while the pass was running
                continue
            width = self._params.width(entropy)
            parent = UNNUMBERED if leaf is state.tree.root else leaf.number
            for token, chance in zip(choices[:width], chances[:width], strict=True):
                node, _ = state.tree.add(leaf, token, chance)
                node.number = state.streamed
                state.streamed += 1
                parents.append(parent)
                tokens.append(token)
                probabilities.append(chance)
        if not tokens:
            return []
        message = Branches(event.request, first, position, tuple(parents), tuple(tokens), tuple(probabilities))
        return [Send(state.controller, message)]


def _by_probability(node: Node) -> float:
    return node.logp
