"""When requests are due: sequential (each after the one before it), or at seeded Poisson times."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.decoding.rng import uniform


class Poisson(BaseModel):
    """Open loop: exponential gaps with the given mean rate, drawn from the run's seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate_per_s: float = Field(gt=0, description="mean arrivals per second over all users")


class PoissonArrivals(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    poisson: Poisson


Arrivals = Literal["sequential"] | PoissonArrivals


def due_times_ms(arrivals: Arrivals, requests: int, seed: int) -> list[float | None]:
    """One entry a request, in milliseconds from the start; None means as soon as the user's previous one ended."""
    if isinstance(arrivals, PoissonArrivals):
        due, times = 0.0, []
        for index in range(requests):
            due += -math.log(1.0 - uniform(seed, index, 0, "arrival")) / arrivals.poisson.rate_per_s * 1e3
            times.append(due)
        return list(times)
    return [None] * requests
