"""SLED's parameters. The paper states none of these values: defaults are a public re-implementation's, or ours."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from testbed.strict import Strict

CONFIDENCE = 0.5


class SledParams(Strict):
    mode: Literal["sled", "as_wisp_describes"] = Field(
        default="sled",
        description="as_wisp_describes: drafts of fixed length max_draft, none while waiting, the narrower SLED that "
        "WISP holds itself against",
    )
    confidence: float | None = Field(
        default=None, ge=0, le=1, description="a token less probable than this ends a draft, and is its last; 0.5"
    )
    max_draft: int = Field(default=8, ge=1, le=32, description="drafts in one request for verification")
    asynchronous: bool | None = Field(default=None, description="go on drafting while a verification is awaited; true")
    batch: int = Field(default=8, ge=1, le=256, description="requests that a target pass waits for")
    wait_ms: float | None = Field(
        default=None, ge=0, description="a pass starts without a full batch once its oldest request waited so long"
    )
    timeout_ms: float | None = Field(
        default=None,
        gt=0,
        description="no answer for so long: ask again, with what was drafted since; not given: never",
    )

    fall_back: int | None = Field(
        default=None,
        ge=1,
        description="after so many time-outs in a row a device hands out what it drafted, unverified: its outputs are "
        "not lossless; not given: never; emulation only",
    )

    @model_validator(mode="after")
    def _fall_back_needs_a_time_out(self) -> Self:
        if self.fall_back is not None and self.timeout_ms is None:
            raise ValueError("fall_back counts time-outs: give timeout_ms too")
        return self

    @model_validator(mode="after")
    def _fixed_length_has_no_threshold(self) -> Self:
        if self.mode == "as_wisp_describes" and (self.confidence is not None or self.asynchronous is not None):
            raise ValueError(
                "as_wisp_describes has drafts of fixed length and none while waiting: leave both options out"
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
