"""Answers a policy's draft and verify jobs from a decode table, as the recorded models would.

Rule kept: drafts are greedy, and the target's choices are its own whatever was drafted (greedy, or drawn with the
request's own keyed numbers: seeded coupling). So a drafter's context is always a true prefix of n output tokens and
then d tokens of the rollout recorded there: (n, d) is all the state there is. A target's context is a true prefix, then
drafts that it refused. What lies outside the table is a TableMiss, never a guess, but for what
`replay_tree` approximates below two wrong drafts of a tree and counts. Knows nothing of time.

A `Replay` holds the caches of one node, as `testbed.models.compute.Compute` does with real models.
"""

from __future__ import annotations

from typing import NoReturn

from msgspec import UNSET

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.policies.api import Draft, DraftReady, DraftTree, TreeDraftReady, Verify, VerifyReady, VerifyTree
from testbed.tables.replay_tree import DrafterTree, State, Unrecorded
from testbed.tables.table import LIVE, DecodeTable, Ints, PromptTable

DEEPER = "record the table with a greater depth"
LONGER = "record the table with more output tokens"
FEATURELESS = "the policy needs margins of rollouts, which this table does not hold: record it again"
SECOND_FEATURES = "the policy needs margins after a second choice, which no table holds: " + LIVE
SAMPLED_DRAFT = "the policy needs a sampled draft, but a table holds greedy drafts only: " + LIVE
GREEDY = Sampling()


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

    def begin(self, position: int) -> None:
        """With what another request cached of the same text: the prompt, and of the output what is right."""
        self.true, self.off = position, 0

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

    __slots__ = ("draft", "one", "prompt_id", "prompt_tokens", "sampling", "target")

    def __init__(self, prompt_id: str, one: PromptTable, sampling: Sampling) -> None:
        self.prompt_id = prompt_id
        self.sampling = sampling
        self.one = one
        self.prompt_tokens = len(one.prompt)
        self.draft = _Context(-self.prompt_tokens)
        self.target = _Context(-self.prompt_tokens)


def _same_law(one: Sampling, other: Sampling) -> bool:
    """Both give the same tokens; what a greedy request's seed is decides nothing."""
    return one == other or (one.greedy and other.greedy)


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
        self._tree = DrafterTree(table)
        self._requests: dict[int, _Request] = {}
        self.tree_lookups = 0  # leaves that trees were drafted from
        self.approximated_lookups = 0  # of them, those answered with a stand-in

    def bind(self, request: int, prompt_id: str, sampling: Sampling = GREEDY) -> None:
        """Say which prompt a request has and how it is decoded; its caches start empty."""
        one = self._table.output(prompt_id, sampling)
        if one is None:
            what = f"prompt {prompt_id!r}"
            if prompt_id in self._table.prompt_tokens:
                what += " decoded greedily" if sampling.greedy else f" sampled as {sampling}"
            raise TableMiss(f"decode table {self._table.name} has no {what}: record one with this prompt set")
        self._requests[request] = _Request(prompt_id, one, sampling)

    def release(self, request: int) -> None:
        """Forget a request, known or not."""
        self._requests.pop(request, None)

    def draft(self, job: Draft, duration_ms: float = 0.0) -> DraftReady:
        """The drafter's answer. KeyError for a request that is not bound."""
        request = self._requests[job.request]
        context, one = request.draft, request.one
        if job.sampled:
            self._miss(request, context.true, SAMPLED_DRAFT)
        if job.prefix_of is not None:
            context.begin(job.position - request.prompt_tokens)
        self._feed(request, job.position, job.tokens)
        true, off = context.true, context.off
        if not job.steps:
            return DraftReady(job.job, job.request, (), (), (), duration_ms)
        if true < 0:
            self._miss(request, true, "a draft was requested before the whole prompt was fed")
        end = off + job.steps
        if end > self._depth:
            self._miss(request, true, f"rollouts have {self._depth} tokens, but token {end} was requested: {DEEPER}")
        second = bool(off) and context.second
        if second:
            tokens = one.second_tokens[true][off:end]
            entropies = one.second_entropies[true][off:end]
            confidences = one.second_confidences[true][off:end]
        else:
            tokens = one.rollout_tokens[true][off:end]
            entropies = one.rollout_entropies[true][off:end]
            confidences = one.rollout_confidences[true][off:end]
        if job.steps > 1:  # all drafted tokens but the last went through the model as well
            self._feed(request, job.position + len(job.tokens), tokens[:-1])
        if job.features:
            if second:
                self._miss(request, true, SECOND_FEATURES)
            if one.rollout_features is UNSET:
                self._miss(request, true, FEATURELESS)
            margins = one.rollout_features.margins[true][off:end]
            variances = one.rollout_features.logit_variances[true][off:end]
            return DraftReady(job.job, job.request, tokens, entropies, confidences, duration_ms, (), margins, variances)
        return DraftReady(job.job, job.request, tokens, entropies, confidences, duration_ms)

    def verify(self, job: Verify, duration_ms: float = 0.0) -> VerifyReady:
        """The target's answer. KeyError for a request that is not bound."""
        request = self._requests[job.request]
        context, truth = request.target, request.one.tokens
        if job.sampling is not request.sampling and not _same_law(job.sampling, request.sampling):
            what = f"{job.sampling} was requested, but the request uses {request.sampling}"
            self._miss(request, context.true, what)
        start = job.position - request.prompt_tokens
        if job.prefix_of is not None:
            context.begin(start)
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
        if job.prefill:
            if true != end:
                self._miss(request, true, "a text that is not the target's output was prefilled")
            context.true = true
            return VerifyReady(job.job, job.request, 0, (), (), duration_ms)
        if true < first or first < 0:
            self._miss(request, true, "the target's choice was requested after a text that is not its output")
        if true == len(truth):
            self._miss(request, true, f"the recorded output ends here: {LONGER}")
        context.true, context.off = true, end - true
        settled = slice(first, true + 1)
        return VerifyReady(
            job.job, job.request, true - first, truth[settled], request.one.entropies[settled], duration_ms
        )

    def draft_tree(self, job: DraftTree, duration_ms: float = 0.0) -> TreeDraftReady:
        """The drafter's answer at each leaf. The text below a tree is the target's own output."""
        request = self._requests[job.request]
        context, one = request.draft, request.one
        if job.prefix_of is not None:
            context.begin(job.position - request.prompt_tokens)
        self._feed(request, job.position, job.tokens)
        true = context.true
        if true < 0 or context.off:
            self._miss(request, true, "a tree was drafted below a text that is not the target's output")
        try:
            states = self._tree.states(one, true, job.nodes, job.parents)
            found = [
                self._tree.choices(one, states[leaf] if leaf >= 0 else State(true), job.width) for leaf in job.leaves
            ]
        except Unrecorded as error:
            self._miss(request, true, str(error))
        self.tree_lookups += len(found)
        self.approximated_lookups += sum(choices.approximated for choices in found)
        return TreeDraftReady(
            job.job,
            job.request,
            tuple(choices.tokens for choices in found),
            tuple(choices.probabilities for choices in found),
            tuple(choices.entropy for choices in found),
            duration_ms,
        )

    def verify_tree(self, job: VerifyTree, duration_ms: float = 0.0) -> VerifyReady:
        """The target's answer: as deep as a path of the tree is its own output."""
        request = self._requests[job.request]
        truth = request.one.tokens
        first = job.position + len(job.tokens) - request.prompt_tokens  # output position of the tree's first level
        path: list[int] = []
        pairs = zip(job.parents, job.nodes, strict=True)
        children = {pair: node for node, pair in enumerate(pairs)}
        node: int | None = -1
        while node is not None and first + len(path) < len(truth):
            node = children.get((node, truth[first + len(path)]))
            if node is not None:
                path.append(node)
        drafts = tuple(job.nodes[node] for node in path)
        linear = Verify(
            job.job, job.request, job.position, job.tokens + drafts, len(drafts), job.sampling, prefix_of=job.prefix_of
        )
        ready = self.verify(linear, duration_ms)
        request.target.crop(first)  # the tree is not kept
        return ready

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
                    self._miss(request, true, f"token {token} is not a recorded choice there; {LIVE}")
            elif off == self._depth:
                self._miss(request, true, f"rollouts have {off} tokens, but one more was fed: {DEEPER}")
            elif token != (one.second_tokens if second else rollouts)[true][off]:
                self._miss(request, true, f"token {token} does not continue with rollout token {off}; {LIVE}")
            off += 1
        context.true, context.off, context.second = true, off, second

    def _feed_prompt(self, request: _Request, context: _Context, tokens: Ints) -> Ints:
        """Take in as much of the prompt as `tokens` begins with; returns the output tokens after it."""
        known = request.prompt_tokens + context.true
        expected = request.one.prompt[known : known + len(tokens)]
        if tokens[: len(expected)] != expected:
            self._miss(request, context.true, "the prompt differs from the recorded one: record this prompt set again")
        context.true += len(expected)
        return tokens[len(expected) :]

    def _miss(self, request: _Request, position: int, what: str) -> NoReturn:
        raise TableMiss(
            f"decode table {self._table.name}: prompt {request.prompt_id!r}, output position {position}: {what}"
        )
