"""SLED's parameters. The paper states none of these values: defaults are a public re-implementation's, or ours."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.files.strict import MS, REQUESTS, SHARE, TOKENS, Strict, Unit

CONFIDENCE = 0.5


class SledParams(Strict):
    mode: Literal["sled", "as_wisp_describes"] = Field(
        default="sled",
        description="sled: as in its paper; as_wisp_describes: drafts of fixed length max_draft, none while waiting, "
        "the narrower SLED that WISP compares with",
    )
    confidence: Annotated[float, SHARE] | None = Field(
        default=None,
        ge=0,
        le=1,
        description="a token less probable than this ends a draft, and is its last; null: 0.5",
    )
    max_draft: Annotated[int, TOKENS] = Field(
        default=8, ge=1, le=32, description="most drafts in one request for verification"
    )
    asynchronous: bool | None = Field(
        default=None, description="keep drafting while waiting for a verification; null: true"
    )
    batch: Annotated[int, REQUESTS] = Field(
        default=8, ge=1, le=256, description="requests that a target pass waits for (static batch size)"
    )
    wait_ms: Annotated[float, MS] | None = Field(
        default=None,
        ge=0,
        description="a pass starts without a full batch once its oldest request has waited this long; null: never",
    )
    timeout_ms: Annotated[float, MS] | None = Field(
        default=None,
        gt=0,
        description="with no answer for this long, ask again, with what was drafted since; null: never",
    )
    fall_back: Annotated[int, Unit("time-outs")] | None = Field(
        default=None,
        ge=1,
        description="after this many timeouts in a row a device outputs what it drafted, unverified: its outputs "
        "are not lossless; null: never; emulation only",
    )

    @model_validator(mode="after")
    def _fall_back_needs_a_time_out(self) -> Self:
        if self.fall_back is not None and self.timeout_ms is None:
            raise ValueError("fall_back counts timeouts: set timeout_ms too")
        return self

    @model_validator(mode="after")
    def _fixed_length_has_no_threshold(self) -> Self:
        if self.mode == "as_wisp_describes" and (self.confidence is not None or self.asynchronous is not None):
            raise ValueError(
                "as_wisp_describes uses drafts of fixed length and none while waiting: remove both options"
            )
        return self

    @property
    def threshold(self) -> float:
        """0: no token ends a draft."""
        if self.mode == "as_wisp_describes":
            return 0.0
        return CONFIDENCE if self.confidence is None else self.confidence

    @property
    def drafts_while_waiting(self) -> bool:
        return self.mode == "sled" and self.asynchronous is not False
