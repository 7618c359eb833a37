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
    """`position` is absolute; `logp` is the joint draft log probability (nats) of the path, of use to compare nodes.

    A node knows its parent and not its children, so that what is cut is freed at once.
    """

    __slots__ = ("fed", "logp", "number", "parent", "position", "remote", "settled", "token")

    def __init__(self, token: int, position: int, parent: Node | None, logp: float) -> None:
        self.token = token
        self.position = position
        self.parent = parent
        self.logp = logp
        self.number = UNNUMBERED  # in the worker's stream
        self.remote = False  # the worker drafted it
        self.settled = False  # the worker's children of it are here: it has no others
        self.fed = False  # a device that caches trees holds it


class Tree:
    """`root.position` is that of the last validated token."""

    def __init__(self, validated: Sequence[int]) -> None:
        self.root = Node(validated[-1], len(validated) - 1, None, 0.0)
        self._levels = [[self.root]]  # by depth; the children of one parent in the order they came
        self._size = 0
        self._path: list[int] = []  # of a path, its tokens from the root's child on; of another tree without meaning

    def add(self, parent: Node, token: int, probability: float) -> tuple[Node, bool]:
        """The child with this token, and whether it is new. The parent is on the tree."""
        child = self.child(parent, token)
        if child is not None:
            return child, False
        position = parent.position + 1
        child = Node(token, position, parent, parent.logp + (log(probability) if probability > 0.0 else -inf))
        levels, depth = self._levels, position - self.root.position
        if depth == len(levels):
            levels.append([child])
        else:
            levels[depth].append(child)
        self._size += 1
        self._path.append(token)
        return child, True

    def child(self, parent: Node, token: int) -> Node | None:
        """The child of a node of the tree that holds this token."""
        levels, depth = self._levels, parent.position - self.root.position + 1
        if depth < len(levels):
            for node in levels[depth]:
                if node.token == token and node.parent is parent:
                    return node
        return None

    def has_children(self, parent: Node) -> bool:
        levels, depth = self._levels, parent.position - self.root.position + 1
        if depth < len(levels):
            for node in levels[depth]:
                if node.parent is parent:
                    return True
        return False

    def advance(self, emitted: Sequence[int]) -> list[Node]:
        """Walk down what was just validated and cut everything else; returns the nodes that are validated now.

        Where the tree holds only a part of it, what is left is a root without children.
        """
        passed: list[Node] = []
        node = self.root
        for token in emitted:
            child = self.child(node, token)
            if child is None:
                self._hang(Node(emitted[-1], self.root.position + len(emitted), None, 0.0), [])
                return passed
            passed.append(child)
            node = child
        below = len(emitted)
        if self.is_path:
            del self._levels[:below]
            del self._path[:below]
            self._size -= below
            self.root = node
            node.parent = None
        else:
            self._hang(node, self._levels[below + 1 :])
        return passed

    def forget(self) -> None:
        """The worker's stream, whose numbers mean nothing any more; its drafts stay."""
        for level in self._levels:
            for node in level:
                node.number, node.settled = UNNUMBERED, False

    def clear(self, parent: Node) -> None:
        """Cut everything below a node of the tree."""
        self._hang(self.root, [[node for node in level if node.parent is not parent] for level in self._levels[1:]])

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
        deepest = len(self._levels) - 1
        return limit if limit < deepest else deepest

    def leaves(self) -> list[Node]:
        """Every node without children, depth first; the root, if it has none."""
        if self.is_path:
            return self._levels[-1].copy()
        children: dict[Node, list[Node]] = {}
        for level in self._levels[1:]:
            for node in level:
                assert node.parent is not None
                children.setdefault(node.parent, []).append(node)
        found, stack = [], [self.root]
        while stack:
            node = stack.pop()
            if node in children:
                stack += reversed(children[node])
            else:
                found.append(node)
        return found

    def likeliest(self) -> Node:
        """The most probable leaf; the root, if nothing is drafted."""
        return self._levels[-1][0] if self.is_path else max(self.leaves(), key=by_probability)

    def paths(self, depth: int) -> list[Node]:
        """The nodes of all paths from the root to a node at `depth`, parents before children; the root is left out."""
        levels = self._levels[1 : depth + 1]
        if self.is_path:
            return [level[0] for level in levels]
        kept = set(levels[-1]) if levels else set()
        for level in reversed(levels):
            kept.update([node.parent for node in level if node in kept and node.parent is not None])
        return [node for level in levels for node in level if node in kept]

    def tokens(self) -> list[int]:
        """Of a path, from the root's child on."""
        return self._path.copy()

    def _hang(self, root: Node, below: Iterable[list[Node]]) -> None:
        """The tree is this root and what of `below`, level by level, hangs from it."""
        root.parent = None
        self.root = root
        self._levels, self._size = [[root]], 0
        level = [root]
        for candidates in below:
            children: dict[Node, list[Node]] = {node: [] for node in level}
            for node in candidates:
                if node.parent in children:
                    children[node.parent].append(node)
            level = [node for siblings in children.values() for node in siblings]
            if not level:
                break
            self._levels.append(level)
            self._size += len(level)
        self._path = [level[0].token for level in self._levels[1:]]


def by_probability(node: Node) -> float:
    return node.logp


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
