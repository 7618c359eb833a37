"""The controller's one path of drafts beyond the validated tokens, fed by its own drafter and by the worker's stream.

The worker's side of the bargain: a lineage is a gapless run of positions, and its first token extends tokens that the
controller validated. With ordered delivery the controller can therefore tell from (lineage, position, token) alone
whether a token extends the path, lags behind, or is of a lineage that died when it contradicted a validated token.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from testbed.errors import RunInvalid


class Candidate(msgspec.Struct, frozen=True):
    token: int
    remote: bool


class CandidatePath:
    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.generation = 0  # changes when candidates are dropped: older local passes then have a void context
        self._lineage = -1
        self._alive = False  # the current lineage has not contradicted a validated token
        self._next = 0  # absolute position of the current lineage's next token

    def __len__(self) -> int:
        return len(self.candidates)

    def tokens(self, depth: int) -> tuple[int, ...]:
        return tuple(candidate.token for candidate in self.candidates[:depth])

    def remote_drafts(self, depth: int) -> int:
        return sum(candidate.remote for candidate in self.candidates[:depth])

    def add_local(self, token: int) -> None:
        self.candidates.append(Candidate(token, remote=False))

    def add_remote(self, lineage: int, position: int, token: int, validated: Sequence[int]) -> bool:
        """Take a worker's token in. True when it is the first of its lineage to contradict a validated token."""
        if lineage != self._lineage:
            self._lineage, self._alive = lineage, True
            gap = position > len(validated)
        elif self._alive:
            gap = position != self._next
        else:
            return False
        if gap:
            raise RunInvalid(
                f"worker stream has a gap at position {position}, lineage {lineage}: delivery is not ordered"
            )
        self._next = position + 1
        index = position - len(validated)
        if index < 0:
            self._alive = token == validated[position]
            return not self._alive
        if index < len(self.candidates) and self.candidates[index].token == token:
            return False  # drafted here already
        # Where the two drafters differ the worker's token stays: its continuation will come without a pass here.
        self._drop_from(index)
        self.candidates.append(Candidate(token, remote=True))
        return False

    def prune(self, emitted: Sequence[int], validated: Sequence[int]) -> bool:
        """`validated` just grew by `emitted`. True when the worker's stream is now known to contradict it."""
        agreed = 0
        for candidate, token in zip(self.candidates, emitted, strict=False):
            if candidate.token != token:
                break
            agreed += 1
        if agreed == len(emitted):
            del self.candidates[:agreed]
            return False
        streamed = self._next - (len(validated) - len(emitted))  # candidates the worker's lineage has reached
        died = self._alive and agreed < streamed
        self._alive = self._alive and not died
        self._drop_from(0)
        return died

    def _drop_from(self, index: int) -> None:
        if index < len(self.candidates):
            del self.candidates[index:]
            self.generation += 1
