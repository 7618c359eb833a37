"""WANSpec's parameters (arXiv 2602.18931), each with what the paper leaves open and what is chosen here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class WanspecParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(default=2, ge=1, le=32, description="drafts verified per target pass; 2 in the paper's cloud runs")
    branches: int = Field(default=1, description="drafts per position; 1 as in the paper's cloud prototype")
    phi: float | None = Field(
        default=0.5,
        ge=0.0,
        description="nats: a bonus token with more target entropy means a stale worker; null: it always does",
    )
    rule: Literal["literal", "t_draft_aware"] = Field(
        default="literal",
        description="draft locally while t_update + R > now (the listing), or if the gap exceeds one local draft step",
    )
    contradiction: bool = Field(
        default=True, description="a worker token that contradicts a validated one makes the worker stale at once"
    )
    rtt_ms: Literal["measured"] | Annotated[float, Field(ge=0.0)] = Field(
        default="measured", description="R: the running median of measured round trips to the worker, or a fixed value"
    )
    max_lookahead: int = Field(
        default=16, ge=1, le=1024, description="drafts a worker may be ahead of what it knows to be validated; ours"
    )

    @field_validator("branches")
    @classmethod
    def _only_paths(cls, value: int) -> int:
        if value != 1:
            raise ValueError(f"must be 1: {value} comes with tree verification, not in this version")
        return value

    @model_validator(mode="after")
    def _worker_reaches_k(self) -> WanspecParams:
        if self.max_lookahead < self.k:
            raise ValueError(f"max_lookahead {self.max_lookahead} must be at least k {self.k}, or verification starves")
        return self
