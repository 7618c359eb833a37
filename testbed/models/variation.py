"""How the passes of a device vary: the law of one factor, from measured quantiles or a named distribution.

Rule kept: a draw follows from the seed of a node's device, the number of the job and the number of the pass in it,
never from time or order, so emulation and simulation draw the same; who uses a law says where it is from.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import Field, model_validator

from testbed.files.strict import NUMBER, SHARE, Strict
from testbed.files.yamlfile import problem
from testbed.models.timing import Law

MAX_FACTOR = 1000.0  # beyond it a figure is a time, not a factor

Share = Annotated[float, SHARE, Field(ge=0, le=1)]
Factor = Annotated[float, NUMBER, Field(gt=0, le=MAX_FACTOR)]
Quantile = Annotated[tuple[Share, Factor], Field(strict=False)]  # a list in a file


class Lognormal(Strict):
    """The logarithm of the factor is normal with mean 0, so that its median is 1."""

    sigma: Annotated[float, NUMBER] = Field(gt=0, le=3, description="standard deviation of the factor's logarithm")
    most: Factor = Field(default=10.0, ge=1, description="larger factors are this one")


class Variation(Strict):
    """A factor for each pass, on what the profile says it takes; draws are independent of one another."""

    source: str = Field(min_length=1, description="where the law comes from; say so if it is made up")
    quantiles: tuple[Quantile, ...] | None = Field(
        default=None,
        min_length=2,
        strict=False,
        description="knots [share of passes, factor], shares ascending from 0 to 1: that share took at most this times "
        "the profile's time; linear between knots",
        examples=[[[0, 0.93], [0.5, 1.0], [0.95, 1.12], [1, 1.6]]],
    )
    lognormal: Lognormal | None = Field(default=None, description="a law in place of quantiles")

    @model_validator(mode="after")
    def _one_law(self) -> Variation:
        if (self.quantiles is None) == (self.lognormal is None):
            raise problem((), "varies: give one law: quantiles, or lognormal")
        if self.quantiles is not None:
            shares, factors = [share for share, _ in self.quantiles], [factor for _, factor in self.quantiles]
            if shares[0] != 0 or shares[-1] != 1 or shares != sorted(set(shares)):
                raise problem(("quantiles",), "varies.quantiles: shares must ascend from 0 to 1")
            if factors != sorted(factors):
                raise problem(("quantiles",), "varies.quantiles: a larger share cannot have a smaller factor")
        return self

    @cached_property
    def factors(self) -> Law:
        """As a worker is told it."""
        if self.lognormal is not None:
            return Law(sigma=self.lognormal.sigma, most=self.lognormal.most)
        return Law(self.quantiles or ())

    def factor(self, share: float) -> float:
        """The quantile function: what `share` of all passes do not exceed. `share` in [0, 1)."""
        return self.factors.factor(share)

    @property
    def law(self) -> str:
        """In a few words, for people."""
        if self.lognormal is not None:
            return f"lognormal, sigma {self.lognormal.sigma:g}"
        return f"{len(self.quantiles or ())} quantiles, factors {self.factor(0):g} to {(self.quantiles or ())[-1][1]:g}"
