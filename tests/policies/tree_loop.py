"""The deterministic loop of `harness` for policies that draft and verify trees.

Only the text stays in a device's cache; every node's context is the text and its ancestors, spelt out, so a wrong
parent or a wrong crop shows as a wrong token. Devices also count what one that caches trees would have to process:
`fresh` must be that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness import HashModels, Loop, Pass, hashed

from testbed.decoding.tree import check_tree, depths, verify_tree_greedy
from testbed.policies import api

Context = tuple[int, ...]


@dataclass
class TreeModels(HashModels):
    """`second`: how often the drafter's second choice is right where its first is wrong. Its entropies are hashed."""

    second: float = 0.5

    def choices(self, tokens: Sequence[int], width: int, salt: int = 0) -> tuple[int, ...]:
        first, right = self.drafter(tokens, salt), self.target(tokens)
        found = [first]
        if first != right and hashed(self.seed, salt, "second", len(tokens), *tokens[-3:]) < self.second:
            found.append(right)
        spare = (first + 2) % self.vocabulary
        while len(found) < width:
            if spare not in found and spare != right:
                found.append(spare)
            spare = (spare + 1) % self.vocabulary
        return tuple(found[:width])

    def draft_entropy(self, tokens: Sequence[int], salt: int = 0) -> float:
        return hashed(self.seed, salt, "draft entropy", len(tokens), *tokens[-3:])

    def top(self, tokens: Sequence[int], salt: int = 0) -> float:
        return 0.4 + 0.6 * hashed(self.seed, salt, "top", len(tokens), *tokens[-3:])


@dataclass
class TreeLoop(Loop):
    """`fresh_tokens`: by job, tokens charged and tokens that a device caching trees would have had to process."""

    fresh_tokens: list[tuple[int, int]] = field(default_factory=list)
    tree_nodes: list[int] = field(default_factory=list)  # of each verification
    batches: list[int] = field(default_factory=list)  # leaves of each draft pass

    def __post_init__(self) -> None:
        super().__post_init__()
        self._held: dict[tuple[str, str, int], set[Context]] = {}

    def _do(self, node: str, command: api.Command, now: float) -> None:
        match command:
            case api.DraftTree():
                self._draft_tree(node, command, now)
            case api.VerifyTree():
                self._verify_tree(node, command, now)
            case _:
                super()._do(node, command, now)

    def _contexts(self, node: str, model: str, command: api.DraftTree | api.VerifyTree) -> list[Context]:
        """The text with each node's path; the text alone comes first."""
        check_tree(command.nodes, command.parents)
        text = tuple(self._cache(node, model, command))  # type: ignore[arg-type]
        found = [text]
        for token, parent in zip(command.nodes, command.parents, strict=True):
            found.append((*found[parent + 1], token))
        held = self._held.setdefault((node, model, command.request), set())
        needed = {text[:length] for length in range(1, len(text) + 1)} | set(found[1:])
        self.fresh_tokens.append((command.fresh, max(1, len(needed - held))))
        # What is not on a path of the text and this tree was cut; a device frees it or not, nobody asks for it again.
        held |= needed
        return found

    def _draft_tree(self, node: str, command: api.DraftTree, now: float) -> None:
        contexts = self._contexts(node, "draft", command)
        salt = self.models.salts.get(node, 0)  # type: ignore[attr-defined]
        tokens, chances, entropies = [], [], []
        for leaf in command.leaves:
            context = contexts[leaf + 1]
            tokens.append(self.models.choices(context, command.width, salt))  # type: ignore[attr-defined]
            top = self.models.top(context, salt)  # type: ignore[attr-defined]
            chances.append(tuple(top * (1 - top) ** rank for rank in range(command.width)))
            entropies.append(self.models.draft_entropy(context, salt))  # type: ignore[attr-defined]
        self.batches.append(len(command.leaves))
        finish = now + self.t_draft_ms
        self.result.passes.append(Pass(node, command.request, "draft", now, finish))
        ready = api.TreeDraftReady(
            command.job, command.request, tuple(tokens), tuple(chances), tuple(entropies), self.t_draft_ms
        )
        self._at(finish, node, ready)

    def _verify_tree(self, node: str, command: api.VerifyTree, now: float) -> None:
        contexts = self._contexts(node, "target", command)
        choices = [self.models.target(context) for context in contexts]  # type: ignore[attr-defined]
        verdict = verify_tree_greedy(choices, command.nodes, command.parents)
        entropies, at = [], 0
        for token in verdict.tokens:
            entropies.append(self.models.entropy(contexts[at]))  # type: ignore[attr-defined]
            at = next(
                (
                    index + 1
                    for index, (parent, own) in enumerate(zip(command.parents, command.nodes, strict=True))
                    if parent == at - 1 and own == token
                ),
                -1,
            )
        assert command.drafts == max(depths(command.parents), default=0)
        self.tree_nodes.append(len(command.nodes))
        finish = self._verified(node, command, now, verdict.accepted, len(verdict.tokens))
        ready = api.VerifyReady(
            command.job, command.request, verdict.accepted, verdict.tokens, tuple(entropies), self.t_target_ms
        )
        self._at(finish, node, ready)

    def _note(self, node: str, event: object, now: float) -> None:
        super()._note(node, event, now)
        if isinstance(event, api.TreeDraftReady):
            self._running.discard(node)
