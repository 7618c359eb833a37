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
        description="what ends a draft before max_draft; classifier is the paper's; gain, not the paper's: one token "
        "more would lower the expected tokens a second of the round, the wait for the verdict included",
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
        default=16, ge=1, le=32, description="drafts in one verification; the paper names none"
    )
    lengths: Literal["even", "slack", "need"] = Field(
        default="even",
        description="a draft's limit, not the paper's but for even: max_draft for all; slack: as many tokens as the "
        "request is ahead of its promise; need: as many as it will be behind when the verdict comes; 1 to max_draft",
    )
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
    order: Literal["value", "deadline"] = Field(
        default="value",
        description="value: the paper's scheduler, in the three parts below; deadline, not the paper's: earliest "
        "deadline first, late requests too, until the pass is full",
    )
    urgent: bool = Field(default=True, description="requests that cannot wait go first; off: ablation")
    density: bool = Field(default=True, description="others go by expected tokens a millisecond; off: by arrival")
    deadline_check: bool = Field(default=True, description="no batch outlasts its earliest deadline; off: ablation")
    ahead_ms: Annotated[float, MS] | None = Field(
        default=None, gt=0, description="who has this much to spare waits while others are served; not the paper's"
    )
    bucket: Annotated[float, NUMBER] | None = Field(
        default=None,
        ge=1.1,
        description="a pass takes only requests whose tokens to feed, rounded up to a power of this, are the same; not "
        "given: any; not the paper's",
    )
    pass_tokens: Annotated[int, TOKENS] | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="tokens fed in one pass at most, since a device's time rises in steps; not given: what it takes; "
        "not the paper's",
    )
    patience_ms: Annotated[float, MS] = Field(default=5000.0, gt=0, description="who waited so long goes first; ours")
    prefill_tokens: Annotated[int, TOKENS] = Field(
        default=128, ge=1, le=65536, description="of a prompt, fed in one pass; ours"
    )
    max_batch: Annotated[int, REQUESTS] | None = Field(
        default=None, ge=1, le=1024, description="requests in a pass; not given: no limit"
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
            raise ValueError(f"controller {name} has hash {sha256[:12]}, not the one given: it has changed")
        return {**data, "controller": name, "controller_sha256": sha256}

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.stop not in LEARNT and (self.controller is not None or self.controller_sha256 is not None):
            raise ValueError(f"stop: {self.stop} has no controller; leave it out")
        if self.order == "deadline" and not (self.urgent and self.density and self.deadline_check):
            raise ValueError("order: deadline has none of the parts urgent, density and deadline_check; leave them out")
        if self.stop == "gain" and self.threshold is not None:
            raise ValueError("stop: gain weighs tokens against time and has no threshold; leave it out")
        if self.stop == "fixed" and (self.threshold is not None or not self.send_suspect):
            raise ValueError("stop: fixed has neither threshold nor suspect token; leave them out")
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
