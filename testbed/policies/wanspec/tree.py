"""A tree of drafts beyond the validated tokens, as either side of WANSpec keeps it.

The root is the last validated token; a node is one draft after its parent. Rule kept: the tree is only ever cut by what
was validated, so two drafters that disagree get a branch each; a controller of one branch cuts with `clear` besides.

With one branch the tree is a path, and everything here costs what it costs to look at one node.
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
        self._levels = [[self.root]]  # by depth
        self._size = 0

    def add(self, parent: Node, token: int, probability: float) -> tuple[Node, bool]:
        """The child with this token, and whether it is new. The parent is on the tree."""
        child = parent.children.get(token)
        if child is not None:
            return child, False
        position = parent.position + 1
        logp = parent.logp + (log(probability) if probability > 0.0 else -inf)
        child = parent.children[token] = Node(token, position, parent, logp)
        depth = position - self.root.position
        if depth == len(self._levels):
            self._levels.append([child])
        else:
            self._levels[depth].append(child)
        self._size += 1
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
                self._grow_from(Node(emitted[-1], self.root.position + len(emitted), None, 0.0))
                return passed
            passed.append(child)
            node = child
        if self.is_path:
            del self._levels[: len(emitted)]
            self._size -= len(emitted)
            self.root = node
            node.parent = None
        else:
            self._grow_from(node)
        return passed

    def clear(self, parent: Node) -> None:
        """Cut everything below a node of the tree."""
        for child in parent.children.values():
            child.parent = None
        parent.children.clear()
        self._grow_from(self.root)

    def holds(self, node: Node) -> bool:
        """Whether a node once added is still on the tree, or is its root."""
        depth = node.position - self.root.position
        return 0 <= depth < len(self._levels) and node in self._levels[depth]

    @property
    def is_path(self) -> bool:
        """No node has two children."""
        return self._size == len(self._levels) - 1

    @property
    def size(self) -> int:
        """Nodes, without the root."""
        return self._size

    def depth(self, limit: int) -> int:
        """Of the deepest node, but no more than `limit`."""
        return min(limit, len(self._levels) - 1)

    def leaves(self) -> list[Node]:
        """Every node without children; the root, if it has none."""
        if self._size == len(self._levels) - 1:
            return self._levels[-1].copy()
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
        levels = self._levels[1 : depth + 1]
        if self.is_path:
            return [node for (node,) in levels]
        kept = set(levels[-1]) if levels else set()
        for level in reversed(levels[:-1]):
            kept.update(node for node in level if not kept.isdisjoint(node.children.values()))
        return [node for level in levels for node in level if node in kept]

    def tokens(self) -> tuple[int, ...]:
        """Of a path, from the root's child on."""
        return tuple([node.token for (node,) in self._levels[1:]])

    def _grow_from(self, root: Node) -> None:
        """What hangs from this node is the tree."""
        root.parent = None
        self.root = root
        self._levels, self._size = [], -1
        level = [root]
        while level:
            self._levels.append(level)
            self._size += len(level)
            level = [child for node in level for child in node.children.values()]


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
