"""A tree of drafts beyond the validated tokens, as either side of WANSpec keeps it.

The root is the last validated token; a node is one draft after its parent. Rule kept: the tree is only ever cut by what
was validated, so two drafters that disagree get a branch each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, log

UNNUMBERED = -1


class Node:
    """`position` is absolute; `logp` is the joint draft log probability (nats) of the path, of use to compare nodes."""

    __slots__ = ("children", "fed", "logp", "number", "parent", "position", "remote", "settled", "token")

    def __init__(self, token: int, position: int, parent: Node | None, logp: float) -> None:
        self.token = token
        self.position = position
        self.parent = parent
        self.logp = logp
        self.children: dict[int, Node] = {}  # by token, in the order they came
        self.number = UNNUMBERED  # in the worker's stream
        self.remote = False  # the worker drafted it
        self.settled = False  # the worker's children of it are here: it has no others
        self.fed = False  # a device that caches trees holds it


class Tree:
    """`root.position` is that of the last validated token."""

    def __init__(self, validated: Sequence[int]) -> None:
        self.root = Node(validated[-1], len(validated) - 1, None, 0.0)

    def add(self, parent: Node, token: int, probability: float) -> tuple[Node, bool]:
        """The child with this token, and whether it is new."""
        child = parent.children.get(token)
        if child is not None:
            return child, False
        logp = parent.logp + (log(probability) if probability > 0.0 else -inf)
        child = parent.children[token] = Node(token, parent.position + 1, parent, logp)
        return child, True

    def advance(self, emitted: Sequence[int]) -> list[Node]:
        """Walk down what was just validated and cut everything else; returns the nodes that are validated now.

        Where the tree holds only a part of it, what is left is a root without children.
        """
        passed: list[Node] = []
        node = self.root
        for token in emitted:
            child = node.children.get(token)
            if child is None:
                self.root = Node(emitted[-1], self.root.position + len(emitted), None, 0.0)
                break
            passed.append(child)
            node = child
        else:
            self.root = node
        self.root.parent = None
        return passed

    def holds(self, node: Node) -> bool:
        """Whether a node once added is still on the tree, or is its root."""
        while node is not self.root:
            if node.parent is None:
                return False
            node = node.parent
        return True

    def depth(self, limit: int) -> int:
        """Of the deepest node, but no more than `limit`."""
        level: Iterable[Node] = (self.root,)
        for reached in range(limit):
            level = [child for node in level for child in node.children.values()]
            if not level:
                return reached
        return limit

    def leaves(self) -> list[Node]:
        """Every node without children; the root, if it has none."""
        found, stack = [], [self.root]
        while stack:
            node = stack.pop()
            if node.children:
                stack += reversed(node.children.values())
            else:
                found.append(node)
        return found

    def paths(self, depth: int) -> list[Node]:
        """The nodes of all paths from the root to a node at `depth`, parents before children; the root is left out."""
        levels = [[self.root]]
        for _ in range(depth):
            levels.append([child for node in levels[-1] for child in node.children.values()])
        kept = set(levels[-1])
        for level in reversed(levels[1:-1]):
            kept.update(node for node in level if not kept.isdisjoint(node.children.values()))
        return [node for level in levels[1:] for node in level if node in kept]

    def size(self) -> int:
        """Nodes, without the root."""
        count, stack = -1, [self.root]
        while stack:
            count += 1
            stack += stack.pop().children.values()
        return count


def ancestry(root: Node, ends: Iterable[Node]) -> list[Node]:
    """`ends` and all between them and the root, parents before children, without the root."""
    found: dict[Node, None] = {}
    for end in ends:
        path = []
        node: Node | None = end
        while node is not None and node is not root and node not in found:
            path.append(node)
            node = node.parent
        found.update(dict.fromkeys(reversed(path)))
    return list(found)


def shape(nodes: Sequence[Node]) -> tuple[tuple[int, ...], tuple[int, ...], dict[Node, int]]:
    """Tokens and parents as commands carry them, and each node's index; a parent that is not among them is the root."""
    index = {node: at for at, node in enumerate(nodes)}
    parents = tuple(index.get(node.parent, -1) if node.parent is not None else -1 for node in nodes)
    return tuple(node.token for node in nodes), parents, index
