"""Capacities of an experiment's policies at several rates, each search done once and kept in a journal like a point.

Rule kept: a search's id covers scenario, policy, rate, how was searched, the code and every input, so it is done again
exactly when something that decides it has changed. Searches are independent, and share the cores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BadInput, TestbedError
from testbed.experiment.document import load_scenario
from testbed.experiment.scenario import Scenario
from testbed.files.yamlfile import nearest
from testbed.simulation.capacity import Capacity, Rates, SearchOptions, classes_of, find_capacity, named
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.sweeps import journal, pool, workers
from testbed.sweeps.plan import Point, identified, source_hash
from testbed.sweeps.point import PointResult
from testbed.sweeps.progress import SweepProgress
from testbed.sweeps.sources import CachedSources

RATE = "tokens_per_s"


@dataclass(frozen=True)
class Searched:
    """One policy at one rate. `result` is None where the search failed, and `error` says why."""

    policy: str
    rate_per_s: float | str  # of a mix its name
    result: dict[str, Any] | None
    error: str | None


def run_capacity(
    path: Path,
    overrides: Sequence[str],
    rates_per_s: Sequence[Rates],
    labels: Sequence[str],
    options: SearchOptions,
    out: Path,
    processes: int | None,
    progress: SweepProgress,
) -> list[Searched]:
    """By rate, then in the experiment's order of policies. Raises BadInput before anything runs."""
    scenario = load_scenario(path, overrides)
    known = [entry.label for entry in scenario.policies]
    for label in labels:
        if label not in known:
            raise BadInput(f"{path}: capacity of {label!r}: no such policy{nearest(label, known)}")
    sources, more = CachedSources(), {"code": source_hash(), "search": repr(options)}
    from_scenario(scenario, None, NO_OVERHEADS, progress.note, sources)  # refuses before processes are started
    points: list[Point] = []
    for rate in rates_per_s:
        for entry in scenario.policies:
            if not labels or entry.label in labels:
                alone = scenario.model_copy(update={"policies": [entry]})
                point = Point(len(points), {RATE: rate}, alone)
                points.append(identified(point, "simulation", sources, {**more, RATE: str(rate)}))
    with journal.opened(out / f"{scenario.name}-capacity") as record:
        done = record.read()
        left = [point for point in points if point.run_id not in done]
        progress.total(len(points), len(points) - len(left))
        for result in _search(left, options, processes or workers.default_workers()):
            record.add([result])
            done[result.run_id] = result
            progress.advance(1)
    return [_searched(point, done[point.run_id]) for point in points]


def search(scenario: Scenario, rate_per_s: Rates, run_id: str, options: SearchOptions) -> PointResult:
    """The one policy of a scenario at one rate; a failure is its result."""
    (entry,) = scenario.policies
    try:
        inputs = from_scenario(scenario, None, NO_OVERHEADS, lambda line: None)
        found = find_capacity(inputs, entry, rate_per_s, options)
    except TestbedError as error:
        return PointResult(run_id, error=str(error))
    return PointResult(run_id, valid=True, policies={entry.label: {"capacity": _as_dict(found)}})


def _search(points: Sequence[Point], options: SearchOptions, processes: int) -> Iterator[PointResult]:
    # low rates have the largest fleets: first, so that no long search is left alone at the end
    jobs = [(one.scenario, one.settings[RATE], one.run_id, options) for one in points]
    jobs.sort(key=lambda job: min(classes_of(job[1])))
    yield from pool.results(jobs, _searcher, processes, "searched a capacity")


def _searcher() -> Callable[[tuple[Scenario, float, str, SearchOptions]], PointResult]:
    return lambda job: search(*job)


def _as_dict(found: Capacity) -> dict[str, Any]:
    at = found.at_capacity
    return {
        "users": found.users,
        "surely": found.surely,
        "beyond": found.beyond,
        "violations": None if at is None else at.share,
        "token_goodput": None if at is None else at.token_goodput,
        "by_class": [] if at is None else [list(one) for one in at.by_class],
        "probes": [dataclasses.astuple(one) for one in found.probes],
    }


def _searched(point: Point, result: PointResult) -> Searched:
    (entry,) = point.scenario.policies
    found = result.policies.get(entry.label, {}).get("capacity")
    return Searched(entry.label, named(point.settings[RATE]), found, result.error)
