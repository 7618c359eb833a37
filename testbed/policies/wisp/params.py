"""WISP's parameters. What the paper (arXiv 2601.11652) leaves open is ours, and said so."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from testbed.files.strict import MS, NUMBER, REQUESTS, TOKENS, Strict, Unit
from testbed.policies.wisp.classifier import Classifier, read_weights
from testbed.policies.wisp.scheduler import Parts
from testbed.policies.wisp.stops import AdaEdl, Confidence, Entropy, FixedLength, Gain, Predicted, StopRule

CONTROLLER = "tiny-prose"
LEARNT = ("classifier", "gain")  # rules that ask a trained classifier


class WispParams(Strict):
    stop: Literal["classifier", "gain", "adaedl", "svip", "confidence", "fixed"] = Field(
        default="classifier",
        description="what ends a draft before max_draft; classifier is the paper's; gain (ours): stop when one more "
        "token would lower the round's expected tokens/s, including the wait for the verdict",
    )
    controller: str | None = Field(
        default=None, description="weights of the classifier, by name or path to a .json file; null: tiny-prose"
    )
    controller_sha256: str | None = Field(default=None, description="hash of the file of weights; null: computed")
    threshold: Annotated[float, Unit("probability or nats")] | None = Field(
        default=None,
        ge=0,
        description="classifier: probability of acceptance, as trained; adaedl: first lambda, 0.6; svip: nats, 1; "
        "confidence: 0.5; null: these. All but the first are ours",
    )
    max_draft: Annotated[int, TOKENS] = Field(
        default=16, ge=1, le=32, description="drafts per verification; the paper gives no value"
    )
    lengths: Literal["even", "slack", "need"] = Field(
        default="even",
        description="limit of a draft, from 1 to max_draft. even (the paper's): max_draft for all; slack (ours): as "
        "many tokens as the request is ahead of its SLO; need (ours): as many as it will be behind when the verdict "
        "comes",
    )
    send_suspect: bool = Field(
        default=True, description="also send the token that ended the draft; the paper does not say"
    )
    draft_while_waiting: bool = Field(default=False, description="keep drafting while waiting for the verdict (ours)")
    basis: Literal["average", "whole", "round"] = Field(
        default="average",
        description="a deadline keeps the request's rate since its first token (average), since its arrival (whole), "
        "or within this round (ours)",
    )
    estimator: Literal["profiled", "online"] = Field(
        default="profiled", description="fitted once to profiled passes, or also learned from every pass"
    )
    order: Literal["value", "deadline"] = Field(
        default="value",
        description="value: the paper's scheduler, with the three parts below; deadline (ours): earliest deadline "
        "first, late requests included, until the pass is full",
    )
    urgent: bool = Field(default=True, description="requests that cannot wait go first; off: ablation")
    density: bool = Field(
        default=True, description="the others are ordered by expected tokens per millisecond; off: by arrival"
    )
    deadline_check: bool = Field(default=True, description="no batch runs past its earliest deadline; off: ablation")
    ahead_ms: Annotated[float, MS] | None = Field(
        default=None, gt=0, description="requests with at least this much slack wait while others are served (ours)"
    )
    bucket: Annotated[float, NUMBER] | None = Field(
        default=None,
        ge=1.1,
        description="a pass takes only requests whose number of tokens to feed, rounded up to a power of this, is "
        "equal; unset: any (ours)",
    )
    pass_tokens: Annotated[int, TOKENS] | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="most tokens fed per pass, since a device's time rises in steps; unset: the device's limit (ours)",
    )
    patience_ms: Annotated[float, MS] = Field(
        default=5000.0, gt=0, description="requests that have waited this long go first (ours)"
    )
    prefill_tokens: Annotated[int, TOKENS] = Field(
        default=128, ge=1, le=65536, description="prompt tokens fed per pass (ours)"
    )
    max_batch: Annotated[int, REQUESTS] | None = Field(
        default=None, ge=1, le=1024, description="requests per pass; unset: no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _find_controller(cls, data: Any) -> Any:
        """Names the weights and pins their hash, so that a run's parameters say which they were."""
        if not isinstance(data, dict) or data.get("stop", "classifier") not in LEARNT:
            return data
        name = data.get("controller") or CONTROLLER
        if not isinstance(name, str):
            return data
        _, sha256 = read_weights(name)
        if data.get("controller_sha256") not in (None, sha256):
            raise ValueError(f"controller {name} has hash {sha256[:12]}, not the given one: the file has changed")
        return {**data, "controller": name, "controller_sha256": sha256}

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.stop not in LEARNT and (self.controller is not None or self.controller_sha256 is not None):
            raise ValueError(f"stop: {self.stop} has no controller; remove it")
        if self.order == "deadline" and not (self.urgent and self.density and self.deadline_check):
            raise ValueError("order: deadline has none of the parts urgent, density and deadline_check; remove them")
        if self.stop == "gain" and self.threshold is not None:
            raise ValueError("stop: gain weighs tokens against time and has no threshold; remove it")
        if self.stop == "fixed" and (self.threshold is not None or not self.send_suspect):
            raise ValueError("stop: fixed has neither threshold nor suspect token; remove them")
        return self

    @property
    def parts(self) -> Parts:
        if self.order == "deadline":
            return Parts(False, False, False, by_deadline=True)
        return Parts(self.urgent, self.density, self.deadline_check)

    @property
    def features(self) -> bool:
        """Whether the rule looks at margins and logit variances."""
        return self.stop in LEARNT

    @cached_property
    def _classifier(self) -> Classifier:
        """One for all devices of a run."""
        assert self.controller is not None
        return Classifier(read_weights(self.controller)[0])

    def stop_rule(self) -> StopRule:
        """A new one: rules may keep state, a device has its own."""
        given = self.threshold
        match self.stop:
            case "classifier":
                return Predicted(self._classifier, given)
            case "gain":
                return Gain(self._classifier)
            case "adaedl":
                return AdaEdl(0.6 if given is None else given)
            case "svip":
                return Entropy(1.0 if given is None else given)
            case "confidence":
                return Confidence(0.5 if given is None else given)
            case "fixed":
                return FixedLength()
