"""How many concurrent users a policy serves within the SLO: fleets in virtual time, searched for each scope.

A size is probed with one fleet for each seed (`testbed.simulation.probing`), judged by all three scopes
(`testbed.simulation.judging`), and the search allows shares that are noisy or fall with more users
(`testbed.simulation.noisysearch`). Sizes that one scope's search probed serve the others'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from testbed.errors import BadInput
from testbed.experiment.policyentry import PolicyEntry
from testbed.simulation.inputs import SimulationInputs
from testbed.simulation.judging import Level, Resamples
from testbed.simulation.noisysearch import Probed, Rule, next_size
from testbed.simulation.probing import ProbeOptions, Rates, dealt, probe
from testbed.workload.slo import SCOPES, Scope

AVERAGE_KEPT = 1.0  # the bound of a fleet's average: the SLO rate over what it got


@dataclass(frozen=True)
class SearchOptions(ProbeOptions):
    bound: float = 0.05  # share of requests, or of users, that may miss; WISP does not state its own
    most_users: int = 512
    precision: float = 0.02  # of the capacity, at least one user
    end_precision: float = 0.05  # of the ends of its interval
    scopes: tuple[Scope, ...] = SCOPES
    points: int = 0  # sizes of the saturation curve, besides those that searches probe

    def bound_of(self, scope: Scope) -> float:
        return AVERAGE_KEPT if scope == "fleet" else self.bound


@dataclass(frozen=True)
class Found:
    """For one scope. The interval is the 95 % one over prompts and seeds; None where there are too few prompts."""

    users: int
    interval: tuple[int, int] | None
    open_end: bool  # the interval ends where the search did
    not_monotone: tuple[int, int] | None  # surely beyond the bound at the first, surely within at the second
    draws: tuple[int, ...]  # capacities of the resamples


@dataclass(frozen=True)
class Capacity:
    policy: str
    rate_per_s: Rates
    scopes: Mapping[Scope, Found]
    levels: tuple[Level, ...]  # by size

    def at(self, scope: Scope) -> Level | None:
        """Its fleets at capacity; None: not even one user is inside."""
        users = self.scopes[scope].users
        return next((one for one in self.levels if one.users == users), None)


def find_capacity(
    inputs: Sequence[SimulationInputs],
    entry: PolicyEntry,
    rate_per_s: Rates,
    options: SearchOptions = SearchOptions(),
    progress: Callable[[Level], None] = lambda level: None,
) -> Capacity:
    """`inputs`: of one experiment, once for each seed."""
    if options.seeds and len(inputs) != len(options.seeds):
        raise BadInput(f"capacity: {len(options.seeds)} seeds need as many inputs, not {len(inputs)}")
    mine = [dealt(one) for one in inputs] if options.seeds else list(inputs)
    resamples = Resamples.of([_clusters(one) for one in mine])
    levels: dict[int, Level] = {}

    def look(users: int) -> None:
        fleets = tuple(probe(one, entry, rate_per_s, users, options) for one in mine)
        levels[users] = Level(users, options.duration_s, fleets, resamples)
        progress(levels[users])

    rule = Rule(options.most_users, options.precision, options.end_precision)
    while (wanted := _wanted(levels, options, rule)) is not None:
        look(wanted)
    found = {scope: _found(_probed(levels, scope, options), options) for scope in options.scopes}
    for users in _curve(max(one.users for one in found.values()), options):
        if users not in levels:
            look(users)
    return Capacity(entry.label, rate_per_s, found, tuple(levels[users] for users in sorted(levels)))


def _clusters(inputs: SimulationInputs) -> list[object]:
    """What is resampled together: a prompt, with its table, as made-up ones of another seed have other outcomes."""
    table = inputs.table.sha256 if inputs.table.synthetic else ""
    return [(table, one.id) for one in inputs.experiment.prompts.prompts]


def _wanted(levels: Mapping[int, Level], options: SearchOptions, rule: Rule) -> int | None:
    """The next size of the first scope whose search is not over."""
    each = (next_size(_probed(levels, scope, options) if levels else None, rule) for scope in options.scopes)
    return next((size for size in each if size is not None), None)


def _probed(levels: Mapping[int, Level], scope: Scope, options: SearchOptions) -> Probed:
    sizes = tuple(sorted(levels))
    measures = np.array([levels[size].measures[scope] for size in sizes])
    weights = np.array([float(max(1, levels[size].requests)) for size in sizes])
    return Probed(sizes, measures, weights, options.bound_of(scope))


def _found(probed: Probed, options: SearchOptions) -> Found:
    interval = probed.interval()
    whole = None if interval is None else (int(interval[0]), int(np.ceil(interval[1])))
    return Found(
        users=probed.estimate(),
        interval=whole,
        open_end=whole is not None and whole[1] >= options.most_users,
        not_monotone=probed.not_monotone(),
        draws=tuple(int(one) for one in probed.crossings()),
    )


def _curve(capacity: int, options: SearchOptions) -> list[int]:
    """Sizes of equal distance up to half as many users again as the largest capacity."""
    if not options.points:
        return []
    last = min(options.most_users, max(options.points, capacity + capacity // 2))
    return sorted({max(1, round(last * (at + 1) / options.points)) for at in range(options.points)})
