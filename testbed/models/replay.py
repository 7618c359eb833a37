"""Answers a policy's draft and verify jobs from a decode table, as the recorded models would.

Rule kept: drafts are greedy and deterministic, so a drafter's context is always a true prefix of n output tokens and
then d tokens of the rollout recorded there: (n, d) is all the state there is. A target's context is a true prefix, then
drafts that it refused. What lies outside the table is a TableMiss, never a guess. Knows nothing of time.

A `Replay` holds the caches of one node, as `testbed.nodes.compute.Compute` does with real models.
"""

from __future__ import annotations

from typing import NoReturn

from testbed.errors import BadInput
from testbed.models.tables import DecodeTable, Ints, PromptTable
from testbed.policies.api import Draft, DraftReady, Verify, VerifyReady

DEEPER = "record the table with a greater depth"
LONGER = "record the table with more output tokens"
GREEDY_ONLY = "a table holds greedy decoding only: use the emulation"


class TableMiss(BadInput):
    """A policy asked for something that the table does not hold."""


class _Context:
    """One model's cache of one request: `true` tokens of the target's output, then `off` tokens that are not.

    `true` is negative while the prompt is not all in. For a drafter the `off` tokens begin the rollout recorded at
    `true`, that of its second choice if `second`; for a target they are drafts it refused.
    """

    __slots__ = ("off", "second", "true")

    def __init__(self, true: int) -> None:
        self.true = true
        self.off = 0
        self.second = False

    def crop(self, position: int) -> None:
        """Forget everything from output position `position` on."""
        off = position - self.true
        if off > self.off:
            raise ValueError(f"cannot crop a cache that ends at output position {self.true + self.off} to {position}")
        if off > 0:
            self.off = off
        else:
            self.true, self.off = position, 0


class _Request:
    """A bound request with its two caches."""

    __slots__ = ("draft", "one", "prompt_id", "prompt_tokens", "target")

    def __init__(self, prompt_id: str, one: PromptTable) -> None:
        self.prompt_id = prompt_id
        self.one = one
        self.prompt_tokens = len(one.prompt)
        self.draft = _Context(-self.prompt_tokens)
        self.target = _Context(-self.prompt_tokens)


def tokens_by_pass(job: Draft | Verify) -> Ints:
    """Tokens fed in each pass of a job on a device that never cuts a feed: what a device profile asks for."""
    if isinstance(job, Verify):
        return (len(job.tokens),)
    return (len(job.tokens), *(1,) * (job.steps - 1))


class Replay:
    """One node's caches over a table. `bind` a request before its first job; `release` forgets it."""

    def __init__(self, table: DecodeTable) -> None:
        self._table = table
        self._depth = table.depth
        self._requests: dict[int, _Request] = {}

    def bind(self, request: int, prompt_id: str) -> None:
        """Say which prompt a request has; its caches start empty."""
        one = self._table.prompts.get(prompt_id)
        if one is None:
            raise TableMiss(
                f"decode table {self._table.name} has no prompt {prompt_id!r}: record it with this prompt set"
            )
        self._requests[request] = _Request(prompt_id, one)

    def release(self, request: int) -> None:
        """Forget a request, known or not."""
        self._requests.pop(request, None)

    def draft(self, job: Draft, duration_ms: float = 0.0) -> DraftReady:
        """The drafter's answer. KeyError for a request that is not bound."""
        request = self._requests[job.request]
        context, one = request.draft, request.one
        if job.sampled:
            self._miss(request, context.true, f"a sampled draft was asked for; {GREEDY_ONLY}")
        self._feed(request, job.position, job.tokens)
        true, off = context.true, context.off
        if true < 0:
            self._miss(request, true, "a draft was asked for before the whole prompt was fed")
        end = off + job.steps
        if end > self._depth:
            self._miss(request, true, f"rollouts have {self._depth} tokens, token {end} was asked for: {DEEPER}")
        if off and context.second:
            tokens = one.second_tokens[true][off:end]
            entropies = one.second_entropies[true][off:end]
            confidences = one.second_confidences[true][off:end]
        else:
            tokens = one.rollout_tokens[true][off:end]
            entropies = one.rollout_entropies[true][off:end]
            confidences = one.rollout_confidences[true][off:end]
        if job.steps > 1:  # all drafted tokens but the last went through the model as well
            self._feed(request, job.position + len(job.tokens), tokens[:-1])
        return DraftReady(job.job, job.request, tokens, entropies, confidences, duration_ms)

    def verify(self, job: Verify, duration_ms: float = 0.0) -> VerifyReady:
        """The target's answer. KeyError for a request that is not bound."""
        request = self._requests[job.request]
        context, truth = request.target, request.one.tokens
        if job.sampling.temperature != 0.0:
            self._miss(request, context.true, f"sampled output was asked for; {GREEDY_ONLY}")
        start = job.position - request.prompt_tokens
        context.crop(start)
        end = start + len(job.tokens)
        first = end - job.drafts  # output position of the first draft
        tokens = job.tokens if context.true >= 0 else self._feed_prompt(request, context, job.tokens)
        true = context.true
        if not context.off:
            for token in tokens:
                if true == len(truth) or token != truth[true]:
                    break
                true += 1
        if true < first or first < 0:
            self._miss(request, true, "the target was asked for its choice after a text that is not its own output")
        if true == len(truth):
            self._miss(request, true, f"the output is recorded no further: {LONGER}")
        context.true, context.off = true, end - true
        settled = slice(first, true + 1)
        return VerifyReady(
            job.job, job.request, true - first, truth[settled], request.one.entropies[settled], duration_ms
        )

    def _feed(self, request: _Request, position: int, tokens: Ints) -> None:
        """Crop the drafter's cache to `position` and follow `tokens`, each of which must be recorded there."""
        context, one = request.draft, request.one
        context.crop(position - request.prompt_tokens)
        if context.true < 0:
            tokens = self._feed_prompt(request, context, tokens)
        true, off, second = context.true, context.off, context.second
        truth, rollouts = one.tokens, one.rollout_tokens
        for token in tokens:
            if not off:
                if true < len(truth) and token == truth[true]:
                    true += 1
                    continue
                second = token != rollouts[true][0]
                if second and not (one.second_tokens and token == one.second_tokens[true][0]):
                    self._miss(request, true, f"token {token} is no recorded choice there; use the emulation")
            elif off == self._depth:
                self._miss(request, true, f"rollouts have {off} tokens, one more was fed: {DEEPER}")
            elif token != (one.second_tokens if second else rollouts)[true][off]:
                self._miss(request, true, f"token {token} does not go on with rollout token {off}; use the emulation")
            off += 1
        context.true, context.off, context.second = true, off, second

    def _feed_prompt(self, request: _Request, context: _Context, tokens: Ints) -> Ints:
        """Take in as much of the prompt as `tokens` begins with; returns the output tokens after it."""
        known = request.prompt_tokens + context.true
        expected = request.one.prompt[known : known + len(tokens)]
        if tokens[: len(expected)] != expected:
            self._miss(request, context.true, "the prompt fed is not the one recorded: record this prompt set again")
        context.true += len(expected)
        return tokens[len(expected) :]

    def _miss(self, request: _Request, position: int, what: str) -> NoReturn:
        raise TableMiss(
            f"decode table {self._table.name}: prompt {request.prompt_id!r}, output position {position}: {what}"
        )
