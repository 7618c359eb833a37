"""Models for phases whose drafts may follow any text at all: the target is a decode table's, the drafter a function.

A table holds drafts along the target's output and a little beside it, which is all that policies ask for while messages
come in order. Under faults a draft may continue what another drafter began. So here every cache is kept token by token,
and the next choice follows from the whole text: a crop or a feed that is wrong shows as another token.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from testbed.policies.api import Draft, DraftReady, DraftTree, TreeDraftReady
from testbed.tables.replay import Replay
from testbed.tables.table import DecodeTable

AGREES = 0.75  # share of texts of the target's after which the first choice is the target's
SECOND_AGREES = 0.5  # of the others, those after which the second choice is
MADE_UP = 1 << 20  # tokens from here on are not a target's


class AnyDrafter(Replay):
    """`bind` a request before its first job; `release` forgets it."""

    def __init__(self, table: DecodeTable) -> None:
        super().__init__(table)
        self._texts: dict[int, list[int]] = {}  # what the drafter has cached of each request

    def release(self, request: int) -> None:
        super().release(request)
        self._texts.pop(request, None)

    def draft(self, job: Draft, duration_ms: float = 0.0) -> DraftReady:
        text = self._fed(job)
        tokens: list[int] = []
        for _ in range(job.steps):
            if tokens:
                text.append(tokens[-1])
            tokens.append(self._choices(job.request, text, 1)[0])
        chances = tuple(0.3 + 0.7 * _share("chance", text, step) for step in range(job.steps))
        entropies = tuple(1.2 * (1 - chance) for chance in chances)
        return DraftReady(job.job, job.request, tuple(tokens), entropies, chances, duration_ms)

    def draft_tree(self, job: DraftTree, duration_ms: float = 0.0) -> TreeDraftReady:
        text = self._fed(job)
        paths: dict[int, list[int]] = {-1: []}
        for node, (token, parent) in enumerate(zip(job.nodes, job.parents, strict=True)):
            paths[node] = [*paths[parent], token]
        found = [self._choices(job.request, [*text, *paths[leaf]], job.width) for leaf in job.leaves]
        tops = [0.4 + 0.5 * _share("top", [*text, *paths[leaf]]) for leaf in job.leaves]
        return TreeDraftReady(
            job.job,
            job.request,
            tuple(found),
            tuple(tuple(top * (1 - top) ** rank for rank in range(job.width)) for top in tops),
            tuple(1.5 * (1 - top) for top in tops),
            duration_ms,
        )

    def _fed(self, job: Draft | DraftTree) -> list[int]:
        """The request's cache, cropped and fed as the job says."""
        if job.prefix_of is not None:
            self._texts[job.request] = self._texts[job.prefix_of][: job.position]
        text = self._texts.setdefault(job.request, [])
        if job.position > len(text):
            raise ValueError(f"cannot crop a cache of {len(text)} tokens to {job.position}")
        del text[job.position :]
        text += job.tokens
        return text

    def _choices(self, request: int, text: Sequence[int], width: int) -> tuple[int, ...]:
        one = self._requests[request].one
        truth = (*one.prompt, *one.tokens)
        right = truth[len(text)] if len(text) < len(truth) and tuple(text) == truth[: len(text)] else None
        found = [MADE_UP + zlib.crc32(repr((text[-4:], len(text), rank)).encode()) % 997 for rank in range(width)]
        if right is not None and _share("first", text) < AGREES:
            found[0] = right
        elif right is not None and width > 1 and _share("second", text) < SECOND_AGREES:
            found[1] = right
        for rank in range(1, width):  # different among siblings
            while found[rank] in found[:rank]:
                found[rank] += 1
        return tuple(found)


def _share(what: str, text: Sequence[int], step: int = 0) -> float:
    return zlib.crc32(repr((what, step, len(text), *text[-4:])).encode()) / 2**32
