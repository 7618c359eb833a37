"""When requests are due: each after the one before it, in a closed loop of many users, or at seeded Poisson times.

All but the Poisson ones and bursts wait for the user's previous request to end; `closed_loop` lets users start at
different times. It and bursts use prompts again and again, since both are about load.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from testbed.decoding.rng import uniform
from testbed.files.strict import REQUESTS_PER_S, S, Strict, Terse
from testbed.files.yamlfile import problem

MAX_S = 1e6  # eleven days
# so that 100,000 requests end within thirty years, which 64 bits of nanoseconds hold
Rate = Annotated[float, REQUESTS_PER_S, Field(ge=1e-4, le=1e6)]
Seconds = Annotated[float, S]


class Poisson(Strict):
    """Open loop: exponential gaps with the given mean rate, drawn from the run's seed."""

    rate_per_s: Rate = Field(description="mean arrivals per second over all users", examples=[0.5])


class PoissonArrivals(Strict):
    """Open loop, at Poisson times."""

    poisson: Poisson = Field(description="requests arrive at seeded Poisson times, whether or not others have ended")


class ClosedLoop(Terse):
    """Every user has one request open at a time, until the workload's requests are used up."""

    quiet = ("think_s",)

    stagger_s: Seconds = Field(
        default=0.0, ge=0, le=3600, description="users start at uniform random times within this", examples=[5]
    )

    think_s: Seconds = Field(
        default=0.0,
        ge=0,
        le=MAX_S,
        description="mean time that a user thinks before the next request; exponential, drawn from the run's seed",
        examples=[10],
    )


class ClosedLoopArrivals(Strict):
    """Closed loop, one request open per user."""

    closed_loop: ClosedLoop = Field(
        description="every user always has one request open; prompts are used again when the set ends"
    )


class Surge(Strict):
    """A stretch of time in which more requests arrive."""

    start_s: Seconds = Field(ge=0, le=MAX_S, description="when it starts, from the start of the run", examples=[10])
    length_s: Seconds = Field(gt=0, le=MAX_S, description="how long it lasts", examples=[5])
    rate_per_s: Rate = Field(
        description="mean arrivals per second over all users, instead of the base rate", examples=[8]
    )


class Burst(Strict):
    """Open loop: Poisson arrivals at a base rate, and at other rates during surges."""

    rate_per_s: Rate = Field(description="mean arrivals per second over all users, outside surges", examples=[1])
    surges: list[Surge] = Field(min_length=1, description="in order of start, without overlap")

    @model_validator(mode="after")
    def _one_after_another(self) -> Self:
        for one, other in pairwise(self.surges):
            if other.start_s < one.start_s + one.length_s:
                raise ValueError(f"the surge at {other.start_s:g} s begins before that at {one.start_s:g} s has ended")
        return self

    def after(self, start_s: float, mass: float) -> float:
        """When, after `start_s`, this rate has summed up to `mass`: the next arrival, if that was drawn."""
        at = start_s
        for surge in self.surges:
            for until, rate in ((surge.start_s, self.rate_per_s), (surge.start_s + surge.length_s, surge.rate_per_s)):
                if at < until:
                    if mass <= (until - at) * rate:
                        return at + mass / rate
                    mass -= (until - at) * rate
                    at = until
        return at + mass / self.rate_per_s


class BurstArrivals(Strict):
    """Open loop, at a base rate with surges."""

    burst: Burst = Field(description="Poisson arrivals at a base rate, and at other rates during surges")


def _no_file(given: Any) -> Any:
    if isinstance(given, str) and ("/" in given or re.search(r"\.\w+$", given)):
        raise problem((), f"arrivals: {given!r}: arrivals cannot be read from a file; describe them, as in "
                          "{poisson: {rate_per_s: 0.5}}")  # fmt: skip
    return given


Arrivals = Annotated[
    Literal["sequential", "load"] | PoissonArrivals | ClosedLoopArrivals | BurstArrivals, BeforeValidator(_no_file)
]


def due_times_ms(arrivals: Arrivals, requests: int, seed: int, users: int = 1) -> list[float | None]:
    """One entry per request, in milliseconds from the start; None means as soon as the user's previous one ended.

    Requests go round the users, so the first `users` of them are everyone's first.
    """
    if isinstance(arrivals, PoissonArrivals):
        due, times = 0.0, []
        for index in range(requests):
            due += _exponential(seed, index) / arrivals.poisson.rate_per_s * 1e3
            times.append(due)
        return list(times)
    if isinstance(arrivals, BurstArrivals):
        at_s, times = 0.0, []
        for index in range(requests):
            at_s = arrivals.burst.after(at_s, _exponential(seed, index))
            times.append(at_s * 1e3)
        return list(times)
    if isinstance(arrivals, ClosedLoopArrivals) and arrivals.closed_loop.stagger_s > 0:
        first = min(users, requests)
        begins = [uniform(seed, user, 0, "arrival") * arrivals.closed_loop.stagger_s * 1e3 for user in range(first)]
        return [*begins, *(None,) * (requests - first)]
    return [None] * requests


def think_times_ms(arrivals: Arrivals, requests: int, seed: int) -> list[float]:
    """How long each request's user thinks before it, once the previous one has ended."""
    if not isinstance(arrivals, ClosedLoopArrivals) or not arrivals.closed_loop.think_s:
        return [0.0] * requests
    mean_ms = arrivals.closed_loop.think_s * 1e3
    return [mean_ms * -math.log(1.0 - uniform(seed, index, 1, "arrival")) for index in range(requests)]


def _exponential(seed: int, index: int) -> float:
    """Drawn with mean 1."""
    return -math.log(1.0 - uniform(seed, index, 0, "arrival"))
