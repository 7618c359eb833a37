"""Centralised serving: one server decodes every user's tokens with the target alone, without drafts.

`continuous` is what serving engines do today (continuous batching, chunked prefill, prefix cache): every pass takes one
token of each running request, and parts of waiting prompts in what is left of the token budget; requests come and go
between passes.

`as_reported` is a guess, to be said wherever its numbers are shown. WISP (arXiv 2601.11652) reports a centralised
baseline whose capacity times token rate is about 326 tokens/s for Qwen3-32B on one A100 in every SLO class from 4
tokens/s on: a throughput bound of 8 to 16 sequences' worth of decoding, far below what continuous batching reaches
there. As far as its readers tell, the paper does not say why. A static batch of 16 (formed when the one before has
ended, all its members to their end) gives about 316 tokens/s on the profile `a100-80gb/qwen3-32b` at 500 cached
tokens each; static batching and its size are inferred by us from that one figure.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from testbed.policies.admission import Admission
from testbed.policies.api import BatchReady, Command, Event, MessageReceived, RoleContext, Verify, VerifyBatch
from testbed.policies.batching import MOST_TOGETHER, BatchingParams
from testbed.policies.edge.sequence import Sequence
from testbed.policies.spec import PolicySpec
from testbed.policies.user import make_user
from testbed.wire.messages import Request

REPORTED_BATCH = 16  # requests; see above


class CentralisedParams(BatchingParams):
    mode: Literal["continuous", "as_reported"] = Field(
        default="continuous",
        description="continuous: requests join and leave the batch after every pass; as_reported: a static batch, none "
        "joins before all have ended, the baseline that papers on edge drafting report",
    )

    @property
    def most_together(self) -> int:
        return self.max_batch or (REPORTED_BATCH if self.mode == "as_reported" else MOST_TOGETHER)


class Target:
    def __init__(self, params: CentralisedParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._static = params.mode == "as_reported"
        self._budget = min(params.token_budget, context.limits.max_pass_tokens or params.token_budget)
        # every running request has at least one token to feed in every pass
        self._admission: Admission[Sequence] = Admission(
            context.limits.kv_capacity_tokens, min(params.most_together, self._budget)
        )
        self._jobs = 0
        self._busy = False

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._admission.arrive(Sequence(request, sender, self._prefixes))
            case BatchReady():
                self._busy = False
                commands += self._settle(event)
        if not self._busy:
            if not (self._static and self._admission.running):
                self._admission.admit()
            commands += self._next_pass()
        return commands

    def _settle(self, event: BatchReady) -> list[Command]:
        commands: list[Command] = []
        for ready in event.members:
            sequence = self._admission.running[ready.request]
            commands += sequence.settle(ready)
            if sequence.done:
                self._admission.leave(ready.request)
        return commands

    def _next_pass(self) -> list[Command]:
        job = self._jobs
        members = fill_pass(job, list(self._admission.running.values()), self._budget)
        if not members:
            return []
        self._busy = True
        self._jobs += 1
        return [VerifyBatch(job, members)]


def fill_pass(job: int, running: list[Sequence], budget: int) -> tuple[Verify, ...]:
    """Every request that is decoding, one token each; then prompts in their order, cut where the budget ends."""
    feeds = {sequence.request.request: sequence.uncached for sequence in running}
    left = budget - sum(1 for tokens in feeds.values() if tokens == 1)
    members = []
    for sequence in running:
        uncached = feeds[sequence.request.request]
        if uncached == 1:
            members.append(sequence.verify(job))
        elif left > 0:
            members.append(sequence.verify(job) if uncached <= left else sequence.prefill(job, left))
            left -= min(uncached, left)
    return tuple(members)


SPEC = PolicySpec(
    name="centralised",
    description="one server decodes for all users, with continuous batching",
    params=CentralisedParams,
    roles={"user": make_user, "target": Target},
    passes=lambda params: {"target": frozenset({"batch"})},
    models={"target": frozenset({"target"})},
)
