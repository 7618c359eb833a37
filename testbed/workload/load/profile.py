"""A load profile: how often requests come and how long they are, in a file small enough to read, with its source.

`streams` are added up; each has a rate over time and says how uneven the gaps between its requests are. Lengths are
quantiles, so a generator gives them back as they were. `figures` are those of the source itself, not of a draw.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.files.strict import NUMBER, REQUESTS, SHARE, TOKENS, S, Strict, Unit
from testbed.files.yamlfile import filling, load_yaml, nearest, problem
from testbed.workload.load.figures import KEY, KEYS

MOST_STEPS = 100_000
MOST_STEP_S = 1e6
MOST_LENGTH = 10_000_000

Count = Annotated[float, REQUESTS, Field(ge=0, le=1e10)]  # an hour of the fastest tenant has 3.6e9
Cv = Annotated[float, NUMBER, Field(ge=0, le=100)]
Figure = Annotated[float, Unit("as the metric"), Field(ge=-1)]
Knot = Annotated[
    tuple[Annotated[float, SHARE, Field(ge=0, le=1)], Annotated[float, TOKENS, Field(ge=1, le=MOST_LENGTH)]],
    Field(strict=False),
]  # a list in a file


class LoadSource(Strict):
    """Where the figures come from."""

    citation: str = Field(description="what to cite")
    licence: str = Field(description="licence of the figures")
    date: str = Field(description="when the requests were made")
    url: str | None = Field(default=None, description="where they are published")
    commit: str | None = Field(default=None, description="commit of the repository they were taken from")
    changes: str = Field(default="", description="what was done to them")


class Rate(Strict):
    """Requests over time, in steps of equal length; after the last one it starts again."""

    step_s: Annotated[float, S, Field(gt=0, le=MOST_STEP_S)] = Field(description="length of a step")
    requests: tuple[Count, ...] = Field(
        strict=False, min_length=1, max_length=MOST_STEPS, description="mean number of requests in each step"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.requests):
            raise problem(("requests",), "requests are all 0; a load has some")
        return self

    @property
    def seconds(self) -> float:
        return self.step_s * len(self.requests)


class Stream(Strict):
    """Requests of one kind, or of one client."""

    name: str = Field(default="all", description="for readers")
    rate: Rate = Field(description="requests over time")
    gap_cv: Cv = Field(
        default=1.0,
        description="coefficient of variation of the gaps between requests while the rate stays the same; 1: Poisson, "
        "less: more even, more: in bursts",
    )
    gap_cv_by_step: Annotated[tuple[Cv, ...], Field(strict=False)] | None = Field(
        default=None, description="the same in each step, instead; null: gap_cv everywhere"
    )

    @model_validator(mode="after")
    def _one_a_step(self) -> Self:
        given = self.gap_cv_by_step
        if given is not None and len(given) != len(self.rate.requests):
            steps = len(self.rate.requests)
            raise problem(
                ("gap_cv_by_step",), f"gap_cv_by_step has {len(given)} values for {steps} steps; give one a step"
            )
        return self

    def cv(self, step: int) -> float:
        return self.gap_cv if self.gap_cv_by_step is None else self.gap_cv_by_step[step]


class Quantiles(Strict):
    """A distribution, linear between these points."""

    quantiles: tuple[Knot, ...] = Field(
        strict=False,
        min_length=2,
        description="[share of requests, tokens at most], from 0 to 1",
        examples=[[[0, 1], [1, 9]]],
    )

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        shares = [share for share, _ in self.quantiles]
        if shares[0] != 0 or shares[-1] != 1:
            raise problem(("quantiles",), "quantiles must go from share 0 to share 1")
        for (share, tokens), (later, longer) in pairwise(self.quantiles):
            if later <= share or longer < tokens:
                raise problem(("quantiles",), f"quantiles must ascend; [{later:g}, {longer:g}] does not")
        return self


class Lengths(Strict):
    """Tokens of a request, as the source counted them."""

    input: Quantiles = Field(description="tokens of the prompt")
    output: Quantiles = Field(description="tokens of the answer")
    rank_correlation: Annotated[float, NUMBER, Field(ge=-1, le=1)] = Field(
        default=0.0, description="Spearman's, between input and output of a request"
    )


class Profile(Strict):
    """A load that requests are drawn from."""

    description: str = Field(description="what service it was, for readers")
    kind: Literal["measured", "composed"] = Field(
        description="measured: all figures are of one trace; composed: put together from several sources, as source "
        "says"
    )
    source: LoadSource = Field(description="where the figures come from")
    starts: str | None = Field(
        default=None,
        description="time of day at which it begins; null: not known",
        examples=["2024-05-12T00:00:00"],
    )
    clock: Literal["utc", "local", "unknown"] = Field(
        default="unknown", description="whose time of day that is: UTC, or the users' own"
    )
    streams: tuple[Stream, ...] = Field(strict=False, min_length=1, description="requests over time, added up")
    lengths: Lengths = Field(description="tokens of a request")
    figures: dict[str, Figure] = Field(
        default={}, description="of the source: requests, seconds, quantiles of lengths, gap_cv, autocorrelations"
    )

    @model_validator(mode="after")
    def _one_period(self) -> Self:
        if len({round(one.rate.seconds, 6) for one in self.streams}) > 1:
            raise problem(("streams",), "streams must all be of the same length: step_s times the number of requests")
        return self

    @model_validator(mode="after")
    def _known_figures(self) -> Self:
        for key in self.figures:
            if KEY.fullmatch(key) is None:
                raise problem(
                    ("figures", key), f"figures: no figure {key!r}{nearest(key, KEYS)}; further ones are as "
                    "count_cv_3600s and autocorrelation_3600s_lag24"
                )  # fmt: skip
        return self

    @property
    def seconds(self) -> float:
        """How long it is before it starts again."""
        return self.streams[0].rate.seconds


def read_profile(path: Path) -> Profile:
    """Raises BadInput with file and every wrong line."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: a load profile is a mapping with the keys description, kind, source, streams, ...")
    with filling(path, Profile, lines):
        return Profile.model_validate(data)
