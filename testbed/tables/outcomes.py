"""The `outcomes:` of an experiment: what the pair does, recorded (the default) or made up for a simulation.

`iid` draws every position independently from stated rates, from published ones, or from a rate of each prompt's own;
`drawn` deals the outcomes of a recorded table in random order, each once, as WANSpec's own simulator does
(arXiv 2602.18931). Both follow from the experiment's seed, so a `seed` axis in a sweep gives independent draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.files.strict import NATS, NUMBER, SHARE, TOKENS, Strict
from testbed.files.yamlfile import problem
from testbed.tables.published import PUBLISHED
from testbed.tables.table import DecodeTable

RECORDED: Literal["recorded"] = "recorded"

Share = Annotated[float, SHARE, Field(ge=0, le=1, allow_inf_nan=False)]
Nats = Annotated[float, NATS, Field(gt=0, le=20, allow_inf_nan=False)]


class MeanEntropy(Strict):
    """Means of exponential entropies (nats) where the drafter agrees with the target, and where it does not."""

    # by default phi = 0.5 flags 19 % of the matches and 72 % of the mismatches
    match: Nats = Field(default=0.3, description="mean entropy where drafter and target agree")
    mismatch: Nats = Field(default=1.5, description="mean entropy where they do not")


class BetaLaw(Strict):
    """How the share of accepted drafts differs from prompt to prompt; its mean is alpha / (alpha + beta)."""

    alpha: Annotated[float, NUMBER, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        description="first parameter of the Beta law", examples=[4.0]
    )
    beta: Annotated[float, NUMBER, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        description="second parameter", examples=[1.0]
    )


class Iid(Strict):
    """Every position is independent of all before. Exactly one of match, by_prompt and published."""

    match: Share | None = Field(
        default=None, description="probability that the drafter's first choice is the target's token", examples=[0.8]
    )
    by_prompt: BetaLaw | None = Field(
        default=None,
        description="each prompt draws that probability for itself, from a Beta law",
        examples=[{"alpha": 4.0, "beta": 1.0}],
    )
    published: Literal[tuple(PUBLISHED)] | None = Field(  # type: ignore[valid-type]  # the names are data
        default=None,
        description="that probability, or its law over prompts, as published for a pair of models (Decode tables)",
        examples=["qwen3.8-27b-dspark"],
    )
    second_match: Share = Field(
        default=0.0, description="probability that its second choice is, where the first is not"
    )
    later_match: Annotated[list[Share], Field(max_length=14)] = Field(
        default=[],
        description="the same of its third choice, where neither of the first two is, its fourth, and so on",
        examples=[[0.3, 0.2]],
    )
    choices: Annotated[int, NUMBER, Field(ge=2, le=16)] = Field(
        default=2,
        description="how many choices the drafter has at every position, for trees that branch more than twice; with "
        "more than two each has half of the probability that is left before it",
    )
    target_entropy_nats: MeanEntropy = Field(
        default=MeanEntropy(), description="means of the target's exponential entropies"
    )
    draft_entropy_nats: MeanEntropy = Field(
        default=MeanEntropy(), description="means of the drafter's exponential entropies"
    )
    prompt_tokens: Annotated[int, TOKENS, Field(ge=1, le=32_768)] = Field(
        default=32, description="length of every prompt; the default is about a question of MT-Bench"
    )
    depth: Annotated[int, TOKENS, Field(ge=1, le=64)] = Field(
        default=17, description="how far a draft may run ahead; recorded tables have the default"
    )

    @model_validator(mode="after")
    def _one_law(self) -> Self:
        if [self.match, self.by_prompt, self.published].count(None) != 2:
            raise problem((), "iid: write one of `match`, `by_prompt` and `published`")
        if 2 + len(self.later_match) > self.choices:
            raise problem(
                ("choices",),
                f"choices: {len(self.later_match)} entries of later_match need {2 + len(self.later_match)}",
            )  # fmt: skip
        return self

    @property
    def law(self) -> float | tuple[float, float]:
        """One probability, or alpha and beta of its law over prompts."""
        if self.published is not None:
            return PUBLISHED[self.published].law
        if self.by_prompt is not None:
            return self.by_prompt.alpha, self.by_prompt.beta
        assert self.match is not None
        return self.match


class Drawn(Strict):
    """The outcomes of a recorded table, in random order, each once."""

    table: str = Field(description="decode table, by name (workloads/tables/) or path", examples=["tiny-prose"])


class Recorded(Strict):
    """What the models did when the table was recorded."""

    table: str = Field(description="decode table, by name (workloads/tables/) or path", examples=["tiny-prose"])


class MadeUp(Strict):
    """Exactly one of the two."""

    iid: Iid | None = Field(default=None, description="every position is drawn independently from these rates")
    drawn: Drawn | None = Field(default=None, description="the outcomes of a recorded table in random order, each once")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.iid is None) == (self.drawn is None):
            raise problem(
                (),
                "outcomes: write `recorded`, `{table: NAME}`, `{iid: {match: 0.8}}` or `{drawn: {table: NAME}}`",
            )
        return self


Outcomes = Literal["recorded"] | Recorded | MadeUp


def refuse_emulation(outcomes: Outcomes, recorded: bool = False) -> None:
    """BadInput for outcomes that no model will produce, or that models which run do not need."""
    if isinstance(outcomes, Recorded) and not recorded:
        raise BadInput(
            "outcomes.table: models that run need no decode table; add compute.models=recorded or --engine simulation, "
            "or remove the key"
        )
    if outcomes != RECORDED and not recorded:
        raise BadInput(
            "outcomes: synthetic outcomes have no models to run; use --engine simulation, add compute.models=recorded, "
            "or remove the key"
        )


def outcome_table(
    outcomes: MadeUp,
    prompts: int,
    output_tokens: int,
    seed: int,
    load: Callable[[str], DecodeTable],
    any_length: bool = False,
) -> DecodeTable:
    """The table of one seed. `load` reads a recorded table by name.

    `any_length`: outputs of `output_tokens` each, also where recorded ones are dealt, which are dealt again when all
    have been.
    """
    from testbed.tables.synthetic import (
        Beta,
        ByOutcome,
        Exponential,
        drawn_table,
        iid_table,
        made_up_prompts,
        outcomes_of,
        resampled_table,
    )

    if outcomes.drawn is not None:
        recorded = load(outcomes.drawn.table)
        if not any_length:
            return resampled_table(recorded, seed)
        of_recorded = {key: one.prompt for key, one in list(recorded.prompts.items())[:prompts]}
        return drawn_table(outcomes_of(recorded), of_recorded, output_tokens, seed, recorded.depth)
    iid = outcomes.iid
    assert iid is not None

    def entropies(mean: MeanEntropy) -> ByOutcome:
        return ByOutcome(Exponential(mean.match), Exponential(mean.mismatch))

    law = iid.law
    return iid_table(
        made_up_prompts(prompts, iid.prompt_tokens, seed),
        output_tokens,
        law if isinstance(law, float) else 0.0,
        entropies(iid.target_entropy_nats),
        entropies(iid.draft_entropy_nats),
        seed,
        iid.depth,
        iid.second_match,
        choices=iid.choices,
        later_match_rates=iid.later_match,
        by_prompt=None if isinstance(law, float) else Beta(*law),
    )
