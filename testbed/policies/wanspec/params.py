"""WANSpec's parameters (arXiv 2602.18931), each with what the paper leaves open and what is chosen here.

Its ablation (Fig. 7) adds one switch a bar; `phi: null` is phi off, as each full acceptance then means a stale worker:
`{branches: 1, phi: null}`, `{branches: 2, theta: null, phi: null}`, `{branches: 2, theta: 0.5, phi: null}` and
`{branches: 2, theta: 0.5, phi: 0.5}`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from testbed.files.strict import MS, NATS, NUMBER, TOKENS, Unit
from testbed.policies.batching import BatchingParams
from testbed.policies.placement.options import Placement, Rule


class WanspecParams(BatchingParams):
    k: Annotated[int, TOKENS] = Field(
        default=2, ge=1, le=32, description="drafts verified per target pass; 2 in the paper's cloud runs"
    )
    branches: Annotated[int, Unit("drafts per position")] = Field(
        default=1, ge=1, le=4, description="drafts per position: 2 in the paper's design, 1 in its cloud prototype"
    )
    theta: Annotated[float, NATS] | None = Field(
        default=0.5,
        ge=0.0,
        description="only a position with at least this draft entropy gets a second choice; null: every one does",
    )
    leaves: Annotated[int, Unit("leaves")] = Field(
        default=4,
        ge=1,
        le=64,
        description="s: leaves that the worker extends in one batched pass; the paper gives no value",
    )
    local_branches: bool = Field(
        default=False, description="a draft pass at the target adds second choices too; not in the paper's listing"
    )
    phi: Annotated[float, NATS] | None = Field(
        default=0.5,
        ge=0.0,
        description="a bonus token with more target entropy means a stale worker; null: it always does",
    )
    rule: Literal["literal", "t_draft_aware", "expected_arrival"] = Field(
        default="literal",
        description="draft locally while t_update + R > now (the listing), if the gap exceeds one local draft step, "
        "or if the worker's draft is expected later than a local one (ours)",
    )
    mismatch: Literal["entropy", "learned"] = Field(
        default="entropy",
        description="how likely a bonus token makes the worker stale, for rule expected_arrival: certain above phi, "
        "or learned online from target entropy and draft probability (ours)",
    )
    latency_bound: Annotated[float, NUMBER] | None = Field(
        default=None,
        ge=1.0,
        le=10.0,
        description="for rule expected_arrival: wait on credit, up to this multiple of co-located speculation's time "
        "(ours); null: never wait when local drafting is expected to be faster",
    )
    switch_off: bool = Field(
        default=False,
        description="requests go without a worker while the last ones had next to nothing from it (ours)",
    )
    contradiction: bool = Field(
        default=True, description="a worker token that contradicts a validated one marks the worker stale at once"
    )
    rtt_ms: Literal["measured"] | Annotated[float, MS, Field(ge=0.0)] = Field(
        default="measured",
        description="R: the running median of measured round trips to the worker, or a fixed value",
        examples=["measured", 12.5],
    )
    silence_ms: Annotated[float, MS] | None = Field(
        default=None,
        gt=0.0,
        description="a worker that owes a draft and stays silent this long (at least 4 round trips) counts as gone "
        "until it sends again: the target drafts, new requests go to other workers (ours); null: wait for it, as in "
        "the listing",
    )
    placement: Rule | Placement = Field(
        default="static",
        description="which of several drafters a request goes to, and whether it moves on while it runs (ours)",
        examples=["load_aware", {"rule": "load_aware", "move": True}],
    )
    max_lookahead: Annotated[int, TOKENS] = Field(
        default=16, ge=1, le=1024, description="drafts a worker may be ahead of the validated text it knows (ours)"
    )
    max_nodes: Annotated[int, TOKENS] = Field(
        default=256, ge=1, le=4096, description="drafts in a worker's tree before it waits for a validation (ours)"
    )
    catch_up: Annotated[int, TOKENS] | None = Field(
        default=None,
        ge=1,
        description="known tokens that one draft pass at the target can take in; more need more passes; null: "
        "unlimited",
    )

    @model_validator(mode="after")
    def _worker_reaches_k(self) -> WanspecParams:
        if self.max_lookahead < self.k:
            raise ValueError(f"max_lookahead {self.max_lookahead} must be at least k {self.k}, or verification starves")
        return self

    @model_validator(mode="after")
    def _ours_together(self) -> WanspecParams:
        if self.rule != "expected_arrival" and (self.latency_bound is not None or self.mismatch != "entropy"):
            raise ValueError("latency_bound and mismatch: learned need rule: expected_arrival")
        return self

    @property
    def round_tokens(self) -> int:
        return self.k + 1 if self.branches == 1 else min(1 + self.most_nodes, self.token_budget)

    @property
    def most_nodes(self) -> int:
        """Of a tree that is verified: beyond a path, what stands in memory past the text."""
        if self.branches == 1:
            return 0
        level, nodes = 1, 0
        for _ in range(self.k):
            level *= self.branches + (self.branches if self.local_branches else 1)
            nodes = min(nodes + level, 2 * self.max_nodes)
        return nodes

    def width(self, entropy: float) -> int:
        """How many children a leaf gets whose draft distribution has this entropy (nats)."""
        return 1 if self.theta is not None and entropy < self.theta else self.branches
