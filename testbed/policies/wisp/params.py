"""WISP's parameters. What the paper (arXiv 2601.11652) leaves open is ours, and said so."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.policies.wisp.classifier import Classifier, read_weights
from testbed.policies.wisp.scheduler import Parts
from testbed.policies.wisp.stops import AdaEdl, Confidence, Entropy, FixedLength, Predicted, StopRule

CONTROLLER = "tiny-prose"


class WispParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    stop: Literal["classifier", "adaedl", "svip", "confidence", "fixed"] = Field(
        default="classifier", description="what ends a draft before max_draft; classifier is the paper's"
    )
    controller: str | None = Field(
        default=None, description="weights of the classifier, by name or path to a .json; tiny-prose"
    )
    controller_sha256: str | None = Field(default=None, description="of the file of weights; found if not given")
    threshold: float | None = Field(
        default=None,
        ge=0,
        description="classifier: probability of acceptance, as trained; adaedl: first lambda, 0.6; svip: nats, 1; "
        "confidence: 0.5. All but the first are ours",
    )
    max_draft: int = Field(default=16, ge=1, le=32, description="drafts in one verification; the paper names none")
    send_suspect: bool = Field(
        default=True, description="the token that ended the draft goes along; the paper does not say"
    )
    draft_while_waiting: bool = Field(default=False, description="go on drafting meanwhile; not the paper's")
    basis: Literal["average", "whole", "round"] = Field(
        default="average",
        description="a deadline keeps the request's rate since its first token, since it came, or in this round; ours",
    )
    estimator: Literal["profiled", "online"] = Field(
        default="profiled", description="fitted once to profiled passes, or also learning from every pass"
    )
    urgent: bool = Field(default=True, description="requests that cannot wait go first; off: ablation")
    density: bool = Field(default=True, description="others go by expected tokens a millisecond; off: by arrival")
    deadline_check: bool = Field(default=True, description="no batch outlasts its earliest deadline; off: ablation")
    ahead_ms: float | None = Field(
        default=None, gt=0, description="who has this much to spare waits while others are served; not the paper's"
    )
    patience_ms: float = Field(default=5000.0, gt=0, description="who waited so long goes first; ours")
    prefill_tokens: int = Field(default=128, ge=1, le=65536, description="of a prompt, fed in one pass; ours")
    max_batch: int | None = Field(default=None, ge=1, le=1024, description="requests in a pass; not given: no limit")

    @model_validator(mode="before")
    @classmethod
    def _find_controller(cls, data: Any) -> Any:
        """Names the weights and pins their hash, so that a run's parameters say which they were."""
        if not isinstance(data, dict) or data.get("stop", "classifier") != "classifier":
            return data
        name = data.get("controller") or CONTROLLER
        if not isinstance(name, str):
            return data
        _, sha256 = read_weights(name)
        if data.get("controller_sha256") not in (None, sha256):
            raise ValueError(f"controller {name} has hash {sha256[:12]}, not the one given: it has changed")
        return {**data, "controller": name, "controller_sha256": sha256}

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.stop != "classifier" and (self.controller is not None or self.controller_sha256 is not None):
            raise ValueError(f"stop: {self.stop} has no controller; leave it out")
        if self.stop == "fixed" and (self.threshold is not None or not self.send_suspect):
            raise ValueError("stop: fixed has neither threshold nor suspect token; leave them out")
        return self

    @property
    def parts(self) -> Parts:
        return Parts(self.urgent, self.density, self.deadline_check)

    @property
    def features(self) -> bool:
        """Whether the rule looks at margins and logit variances."""
        return self.stop == "classifier"

    def stop_rule(self) -> StopRule:
        """A new one: rules may keep state, a device has its own."""
        given = self.threshold
        match self.stop:
            case "classifier":
                assert self.controller is not None
                return Predicted(Classifier(read_weights(self.controller)[0]), given)
            case "adaedl":
                return AdaEdl(0.6 if given is None else given)
            case "svip":
                return Entropy(1.0 if given is None else given)
            case "confidence":
                return Confidence(0.5 if given is None else given)
            case "fixed":
                return FixedLength()
