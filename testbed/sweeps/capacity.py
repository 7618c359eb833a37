"""Capacities of an experiment's policies at several rates, each search done once and kept in a journal like a point.

Rule kept: a search's id covers scenario, policy, rate, how was searched, the code and every input, so it is done again
exactly when something that decides it has changed. Searches are independent, and share the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BadInput, TestbedError
from testbed.experiment.document import load_scenario
from testbed.experiment.scenario import Scenario
from testbed.files.yamlfile import nearest
from testbed.simulation import capacityrows
from testbed.simulation.capacities import seeded_inputs, with_prompts
from testbed.simulation.capacity import SearchOptions, find_capacity
from testbed.simulation.inputs import FILES
from testbed.simulation.probing import Rates, classes_of, named
from testbed.sweeps import journal, pool, workers
from testbed.sweeps.plan import Point, identified, source_hash
from testbed.sweeps.point import PointResult
from testbed.sweeps.progress import SweepProgress
from testbed.sweeps.sources import CachedSources

RATE, PROMPTS = "tokens_per_s", "prompts"


@dataclass(frozen=True)
class Searched:
    """One policy at one rate on one prompt set. `result` is None where the search failed, and `error` says why.

    `result`: the line of `testbed.simulation.capacityrows`, its `curve`, and `draws` by column.
    """

    policy: str
    rate_per_s: float | str  # of a mix its name
    result: dict[str, Any] | None
    error: str | None
    prompts: str = ""


def run_capacity(
    path: Path,
    overrides: Sequence[str],
    rates_per_s: Sequence[Rates],
    labels: Sequence[str],
    options: SearchOptions,
    out: Path,
    processes: int | None,
    progress: SweepProgress,
    prompts: Sequence[str] = (),
) -> list[Searched]:
    """By prompt set, then rate, then in the experiment's order of policies. Raises BadInput before anything runs.

    `prompts`: prompt sets in place of the experiment's.
    """
    scenario = load_scenario(path, overrides)
    known = [entry.label for entry in scenario.policies]
    for label in labels:
        if label not in known:
            raise BadInput(f"{path}: capacity of {label!r}: no such policy{nearest(label, known)}")
    sources, more = CachedSources(), {"code": source_hash(), "search": repr(options)}
    each = with_prompts(scenario, prompts)
    for one in each:
        seeded_inputs(one, options.seeds, None, progress.note, sources)  # refuses before processes are started
    points: list[Point] = []
    for one in each:
        for rate in rates_per_s:
            for entry in one.policies:
                if not labels or entry.label in labels:
                    alone = one.model_copy(update={"policies": [entry]})
                    point = Point(len(points), {RATE: rate, PROMPTS: one.workload.prompts}, alone)
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
        inputs = seeded_inputs(scenario, options.seeds, None, lambda line: None, FILES)
        found = find_capacity(inputs, entry, rate_per_s, options)
        result = capacityrows.line(found) | {"curve": capacityrows.curve(found), "draws": capacityrows.draws(found)}
    except TestbedError as error:
        return PointResult(run_id, error=str(error))
    return PointResult(run_id, valid=True, policies={entry.label: {"capacity": result}})


def _search(points: Sequence[Point], options: SearchOptions, processes: int) -> Iterator[PointResult]:
    # low rates have the largest fleets: first, so that no long search is left alone at the end
    jobs = [(one.scenario, one.settings[RATE], one.run_id, options) for one in points]
    jobs.sort(key=lambda job: min(classes_of(job[1])))
    yield from pool.results(jobs, _searcher, processes, "searched a capacity")


def _searcher() -> Callable[[tuple[Scenario, float, str, SearchOptions]], PointResult]:
    return lambda job: search(*job)


def _searched(point: Point, result: PointResult) -> Searched:
    (entry,) = point.scenario.policies
    found = result.policies.get(entry.label, {}).get("capacity")
    return Searched(entry.label, named(point.settings[RATE]), found, result.error, point.settings[PROMPTS])
