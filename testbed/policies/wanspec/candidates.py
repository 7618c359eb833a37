"""The controller's tree of drafts, fed by its own drafter and by the worker's stream of nodes.

The worker's side of the bargain: nodes are numbered without a gap; a parent is an earlier node, or a text that the
controller validated; the children of one parent come together. With ordered delivery the controller can therefore tell
from a node's parent alone whether the node belongs on the tree, lags behind what is validated, or hangs from a branch
that was cut.

Where the two drafters differ each gets a branch. A tree of one branch keeps the worker's: its continuation will come
without a pass here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec

from testbed.errors import RunInvalid
from testbed.policies.wanspec.tree import UNNUMBERED, Node, Tree
from testbed.wire.messages import Branches


class Heard(msgspec.Struct, frozen=True, gc=False):
    missed: int | None  # position of a validated token that the worker is seen to have missed
    level: int | None  # deepest position of what extends the tree or agrees with what is validated; None: nothing does


NOTHING = Heard(None, None)


class CandidateTree:
    def __init__(self, prompt: Sequence[int], one_branch: bool = False) -> None:
        self.tree = Tree(prompt)
        self._one_branch = one_branch
        self._nodes: dict[int, Node] = {}  # by the worker's number; some are on the tree no more
        self._passed: dict[int, int] = {}  # number to position: the worker's nodes that were validated
        self._next = 0  # number of the worker's next node

    def restart(self) -> None:
        """Another worker goes on from the validated text: its stream begins anew, and what is drafted stays."""
        self._nodes.clear()
        self._passed.clear()
        self._next = 0
        self.tree.forget()

    def add_local(self, parent: Node, tokens: Sequence[int], probabilities: Sequence[float]) -> None:
        """What was drafted here after a node, which the worker's stream may have taken off the tree meanwhile."""
        tree = self.tree
        if not tree.holds(parent) or (self._one_branch and tree.has_children(parent)):
            return
        for choice, token in enumerate(tokens):
            tree.add(parent, token, probabilities[choice])

    def add_remote(self, branches: Branches, validated: Sequence[int]) -> Heard:
        """Take a worker's nodes in, and say what they tell of it.

        It missed a validated token if it drafted after the text before it and no choice of its is that token.
        """
        first, tokens = branches.first, branches.tokens
        if first != self._next:
            raise RunInvalid(
                f"worker stream has a gap before node {first}, expected {self._next}: messages arrived out of order"
            )
        self._next += len(tokens)
        parents = branches.parents or (first - 1,)
        if len(tokens) == 1:
            child = (first, tokens[0], branches.probabilities[0])
            return self._take(parents[0], branches.position, (child,), validated)
        missed: int | None = None
        level: int | None = None
        rows = zip(parents, range(first, self._next), tokens, branches.probabilities, strict=True)
        for number, group in groupby(rows, key=lambda row: row[0]):
            children = [(own, token, probability) for _, own, token, probability in group]
            heard = self._take(number, branches.position, children, validated)
            if heard.missed is not None:
                missed = heard.missed
            if heard.level is not None:
                level = max(level or 0, heard.level)
        return Heard(missed, level)

    def advance(self, emitted: Sequence[int]) -> tuple[list[Node], bool]:
        """Cut the tree to what was just validated. Returns the nodes passed, and whether the worker's stream is now
        known to contradict it."""
        contradicted = self._contradicts(emitted)
        passed = self.tree.advance(emitted)
        for node in passed:
            if node.number != UNNUMBERED:
                self._passed[node.number] = node.position
        return passed, contradicted

    def remote_levels(self, nodes: Sequence[Node]) -> int:
        """How many levels of a tree hold a node that the worker drafted."""
        return len({node.position for node in nodes if node.remote})

    def _take(
        self, number: int, position: int, children: Sequence[tuple[int, int, float]], validated: Sequence[int]
    ) -> Heard:
        """The children of one parent: number, token and probability of each."""
        known = position - 1 if number == UNNUMBERED else self._passed.get(number)
        parent = self._nodes.get(number) if known is None else self._at(known)
        if parent is not None and self.tree.holds(parent):
            self._attach(parent, children)
            return Heard(None, parent.position + 1)
        if known is None:
            return NOTHING
        after = known + 1
        agreeing = [own for own, token, _ in children if token == validated[after]]
        if not agreeing:
            return Heard(after, None)
        self._passed.update(dict.fromkeys(agreeing, after))
        return Heard(None, after)

    def _at(self, position: int) -> Node | None:
        """The root, if the text that ends at `position` is all that is validated."""
        root = self.tree.root
        if position > root.position:
            raise RunInvalid(f"a worker's node extends a text to {position}, which is not validated yet")
        return root if position == root.position else None

    def _attach(self, parent: Node, children: Sequence[tuple[int, int, float]]) -> None:
        tree = self.tree
        parent.settled = True
        if self._one_branch and tree.has_children(parent) and tree.child(parent, children[0][1]) is None:
            tree.clear(parent)
        for number, token, probability in children:
            node, new = tree.add(parent, token, probability)
            node.number = number
            node.remote = node.remote or new
            self._nodes[number] = node

    def _contradicts(self, emitted: Sequence[int]) -> bool:
        node = self.tree.root
        for token in emitted:
            if not node.settled:
                return False
            child = self.tree.child(node, token)
            if child is None or child.number == UNNUMBERED:
                return True
            node = child
        return False
