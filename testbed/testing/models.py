"""Stand-in models for policy checks: a target and drafters that are functions of the token context, nothing else.

Rule kept: a choice depends on the cache's content alone, so that a policy that crops or feeds a cache wrongly gets a
wrong token. `HashModels` needs no arrays and covers draft trees; `LogitModels` goes through the real decoding rules,
for sampled decoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import DraftChoice, Verdict, draft_choice, verify, verify_greedy
from testbed.policies import api

GREEDY = Sampling()


@dataclass(frozen=True)
class Job:
    """One request of the workload. Times are milliseconds of the loop's clock."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int = 40
    eos: tuple[int, ...] = ()
    sampling: Sampling = GREEDY
    at_ms: float = 0.0
    slo_tokens_per_s: float | None = None


class Models(Protocol):
    """What a loop needs for passes over one sequence."""

    def verify(self, tokens: Sequence[int], drafts: Sequence[int], command: api.Verify) -> Verdict: ...

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice: ...


@runtime_checkable
class TreeModels(Protocol):
    """What a loop needs besides for draft trees."""

    def target(self, tokens: Sequence[int]) -> int: ...

    def entropy(self, tokens: Sequence[int]) -> float: ...

    def choices(self, node: str, tokens: Sequence[int], width: int) -> tuple[int, ...]: ...

    def draft_entropy(self, node: str, tokens: Sequence[int]) -> float: ...

    def top(self, node: str, tokens: Sequence[int]) -> float: ...


def hashed(*key: object) -> float:
    """A reproducible number in [0, 1) for this key."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=6).digest(), "big") / 2**48


@dataclass
class HashModels:
    """A target that is a hash of its context; drafters that agree with it with probability `match`.

    The target's entropy exceeds 0.5 at 85 % of the positions where the drafter is wrong and at 35 % of the others.
    `second`: how often the drafter's second choice is right where its first is wrong.
    """

    seed: int = 0
    vocabulary: int = 50
    match: float = 0.75
    salts: Mapping[str, int] = field(default_factory=dict)  # by node: drafters of different salt err differently
    second: float = 0.5

    def target(self, tokens: Sequence[int]) -> int:
        return int(hashed(self.seed, "target", len(tokens), *tokens[-3:]) * self.vocabulary)

    def drafter(self, tokens: Sequence[int], salt: int = 0) -> int:
        agrees = hashed(self.seed, salt, "match", len(tokens), *tokens[-3:]) < self.match
        return (self.target(tokens) + (0 if agrees else 1)) % self.vocabulary

    def entropy(self, tokens: Sequence[int]) -> float:
        wrong = self.drafter(tokens) != self.target(tokens)
        flagged = hashed(self.seed, "flag", len(tokens), *tokens[-3:]) < (0.85 if wrong else 0.35)
        return 0.5 * flagged + 0.5 * hashed(self.seed, "entropy", len(tokens), *tokens[-3:])

    def verify(self, tokens: Sequence[int], drafts: Sequence[int], command: api.Verify) -> Verdict:
        contexts = [list(tokens[: len(tokens) - len(drafts) + index]) for index in range(len(drafts) + 1)]
        verdict = verify_greedy([self.target(context) for context in contexts], drafts)
        return Verdict(
            verdict.accepted, verdict.tokens, tuple(self.entropy(c) for c in contexts[: verdict.accepted + 1])
        )

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice:
        return DraftChoice(self.drafter(tokens, self.salts.get(node, 0)), 0.1, 0.9)

    def reference(self, job: Job) -> tuple[int, ...]:
        """Target-only greedy decoding."""
        tokens = list(job.prompt)
        while len(tokens) < len(job.prompt) + job.max_tokens:
            tokens.append(self.target(tokens))
            if tokens[-1] in job.eos:
                break
        return tuple(tokens[len(job.prompt) :])

    def choices(self, node: str, tokens: Sequence[int], width: int) -> tuple[int, ...]:
        """The drafter's `width` best tokens, best first."""
        salt = self.salts.get(node, 0)
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

    def draft_entropy(self, node: str, tokens: Sequence[int]) -> float:
        return hashed(self.seed, self.salts.get(node, 0), "draft entropy", len(tokens), *tokens[-3:])

    def top(self, node: str, tokens: Sequence[int]) -> float:
        """The probability of the drafter's best token."""
        return 0.4 + 0.6 * hashed(self.seed, self.salts.get(node, 0), "top", len(tokens), *tokens[-3:])


@dataclass
class VariedModels(HashModels):
    """Drafts whose confidence and entropy vary, and are mostly better where the drafter is right."""

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice:
        token = self.drafter(tokens, self.salts.get(node, 0))
        right = token == self.target(tokens)
        sure = 0.4 * right + 0.6 * hashed(self.seed, "confidence", len(tokens), *tokens[-3:])
        return DraftChoice(token, 2.5 * (1.0 - sure), sure)


@dataclass
class LogitModels:
    """Models given by a logits function of (which model, context), judged by the real rules."""

    logits: Callable[[str, tuple[int, ...]], np.ndarray]

    def verify(self, tokens: Sequence[int], drafts: Sequence[int], command: api.Verify) -> Verdict:
        first = len(tokens) - len(drafts)
        rows = np.stack([self.logits("target", tuple(tokens[: first + index])) for index in range(len(drafts) + 1)])
        return verify(rows, drafts, command.sampling, command.request, first, command.rows)

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice:
        logits = self.logits("draft", tuple(tokens))
        return draft_choice(logits, command.sampled, command.top_q, command.sampling, command.request, len(tokens))
