"""The knobs of passes that requests share: one text for every policy with them (`testbed.policies.passqueue`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from testbed.files.strict import REQUESTS, TOKENS, Strict

MOST_TOGETHER = 256  # requests; vLLM's default


class BatchingParams(Strict):
    max_batch: Annotated[int, REQUESTS] | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="requests that share a pass, at most; 1: one request per pass, in turn; null: 256, or 16 where "
        "centralised is as_reported",
    )
    token_budget: Annotated[int, TOKENS] = Field(
        default=512, ge=1, le=65536, description="tokens per forward pass: decoding first, prompts in the rest"
    )

    @property
    def most_together(self) -> int:
        return self.max_batch or MOST_TOGETHER

    @property
    def round_tokens(self) -> int:
        """What a request that is decoding feeds in one pass, at most."""
        return 1

    @model_validator(mode="after")
    def _a_round_fits(self) -> BatchingParams:
        if self.token_budget < self.round_tokens:
            raise ValueError(f"token_budget {self.token_budget} must hold the {self.round_tokens} tokens of one round")
        return self
