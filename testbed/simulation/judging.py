"""Fleets of one size, judged by all three scopes of the SLO, with resamples of prompts and seeds.

Rule kept: every figure has in its first entry what was seen, and in the others what resampled seeds and prompts would
have shown. Resamples depend on the prompts and the seeds alone, so those of two sizes, scopes or policies belong
together pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from testbed.results.statistics import crossed_draws
from testbed.simulation.probing import Requests
from testbed.workload.slo import SCOPES, Floats, Scope, kept

SEED = 0  # of the resamples
NOTHING = 1e3  # the measure of a fleet that got next to nothing: finite, so that it can be averaged


@dataclass(frozen=True)
class Resamples:
    """How often each run counts, one a seed, and in each run each of its prompts; one row a resample."""

    runs: NDArray[np.int64]
    prompts: Sequence[NDArray[np.int64]]

    @classmethod
    def of(cls, prompts: Sequence[Sequence[object]]) -> Resamples:
        return cls(*crossed_draws(prompts, (SEED,)))


@dataclass(frozen=True)
class Level:
    """Fleets of so many users, one for each seed."""

    users: int
    duration_s: float
    fleets: tuple[Requests, ...]
    resamples: Resamples

    @property
    def requests(self) -> int:
        return sum(len(one.rate) for one in self.fleets)

    @property
    def violations(self) -> int:
        """Requests that did not get their rate, of all classes."""
        return sum(int((~_kept(one)).sum()) for one in self.fleets)

    @cached_property
    def measures(self) -> Mapping[Scope, Floats]:
        """What each scope is judged by, of the worst class: it grows with the load, and a bound says how far."""
        worst = {scope: self._measure(scope, self.classes[0]) for scope in SCOPES}
        for rate in self.classes[1:]:
            worst = {scope: np.fmax(found, self._measure(scope, rate)) for scope, found in worst.items()}
        # a resample without a request of any class says nothing, so what was seen stands for it
        return {scope: np.where(np.isnan(found), found[0], found) for scope, found in worst.items()}

    @cached_property
    def classes(self) -> list[float]:
        return sorted({float(rate) for one in self.fleets for rate in np.unique(one.rate)})

    @property
    def by_class(self) -> tuple[tuple[float, int, int], ...]:
        """Rate, requests and violations of each class, where there are several."""
        counts = [
            (rate, sum(int((one.rate == rate).sum()) for one in self.fleets),
             sum(int(((one.rate == rate) & ~_kept(one)).sum()) for one in self.fleets))
            for rate in self.classes
        ]  # fmt: skip
        return tuple(counts) if len(counts) > 1 else ()

    @property
    def emitted_per_user(self) -> float:
        """Tokens that a user got in a second, whether the SLO was met or not."""
        return self._per_second(lambda one: np.ones(len(one.rate), dtype=bool)) / self.users

    def goodput(self, scope: Scope) -> float:
        """Tokens a second that went where the SLO was met: to those requests, those users, or that class."""
        return self._per_second(lambda one: _good(one, scope))

    def _per_second(self, counts: Callable[[Requests], NDArray[np.bool_]]) -> float:
        tokens = sum(float(one.emitted[counts(one)].sum()) for one in self.fleets)
        return tokens / self.duration_s / len(self.fleets)

    def _measure(self, scope: Scope, rate: float) -> Floats:
        """Of one class; NaN where a resample holds none of it."""
        over, under = np.zeros(len(self.resamples.runs)), np.zeros(len(self.resamples.runs))
        for run, (fleet, prompts) in enumerate(zip(self.fleets, self.resamples.prompts, strict=True)):
            mine = fleet.rate == rate
            top, bottom = _PARTS[scope](_Class(fleet, mine, rate), prompts)
            over += self.resamples.runs[:, run] * top
            under += self.resamples.runs[:, run] * bottom
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.minimum(over / under, NOTHING)


@dataclass(frozen=True)
class _Class:
    fleet: Requests
    mine: NDArray[np.bool_]
    rate: float

    def by_prompt(self, values: Floats, prompts: int) -> Floats:
        return _summed(self.fleet.prompt[self.mine], values[self.mine], prompts)

    def by_prompt_and_user(self, values: Floats, prompts: int) -> Floats:
        people = int(self.fleet.user.max(initial=0)) + 1
        at = self.fleet.prompt[self.mine] * people + self.fleet.user[self.mine]
        return _summed(at, values[self.mine], prompts * people).reshape(prompts, people)


def _of_requests(one: _Class, draws: NDArray[np.int64]) -> tuple[Floats, Floats]:
    size = draws.shape[1]
    missed, all_of_them = (~_kept(one.fleet)).astype(float), np.ones(len(one.mine))
    return draws @ one.by_prompt(missed, size), draws @ one.by_prompt(all_of_them, size)


def _of_users(one: _Class, draws: NDArray[np.int64]) -> tuple[Floats, Floats]:
    size = draws.shape[1]
    asked = draws @ one.by_prompt_and_user(np.ones(len(one.mine)), size) > 0
    tokens = draws @ one.by_prompt_and_user(one.fleet.tokens, size)
    seconds = draws @ one.by_prompt_and_user(one.fleet.seconds, size)
    missed = asked & ~kept(tokens, seconds, one.rate)
    return missed.sum(axis=1).astype(float), asked.sum(axis=1).astype(float)


def _of_fleet(one: _Class, draws: NDArray[np.int64]) -> tuple[Floats, Floats]:
    size = draws.shape[1]
    needed = one.rate * one.fleet.seconds
    return draws @ one.by_prompt(needed, size), draws @ one.by_prompt(one.fleet.tokens, size)


_PARTS = {"per_request": _of_requests, "per_user": _of_users, "fleet": _of_fleet}


def _summed(groups: NDArray[np.intp], values: Floats, size: int = 0) -> Floats:
    return np.bincount(groups, weights=values, minlength=size).astype(np.float64)


def _kept(one: Requests) -> NDArray[np.bool_]:
    return kept(one.tokens, one.seconds, one.rate)


def _good(one: Requests, scope: Scope) -> NDArray[np.bool_]:
    """For each request whether the SLO was met for who it belongs to."""
    if scope == "per_request":
        return _kept(one)
    # a user has one class, and a class is told by its rate
    _, whose = np.unique(one.user if scope == "per_user" else one.rate, return_inverse=True)
    tokens, seconds = _summed(whose, one.tokens), _summed(whose, one.seconds)
    good: NDArray[np.bool_] = kept(tokens[whose], seconds[whose], one.rate)
    return good
