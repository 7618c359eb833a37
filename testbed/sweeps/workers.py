"""Runs simulated points in chunks, in processes that each read their inputs once.

Rule kept: a point's result depends on the point alone, so neither the number of workers nor the order matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from testbed.results import manifest
from testbed.sweeps import pool
from testbed.sweeps.plan import Point
from testbed.sweeps.point import PointResult, Task, simulate_point
from testbed.sweeps.sources import CachedSources, table_key

MAX_CHUNK = 32  # points between two lines of the journal and two moves of the bar
CHUNKS_PER_WORKER = 16  # so that the last ones to finish do not wait long for each other


def default_workers() -> int:
    return manifest.cores()


def results(points: Sequence[Point], task: Task, workers: int) -> Iterator[list[PointResult]]:
    """Results in chunks, as they come."""
    chunks = list(chunked(points, workers))
    yield from pool.results(chunks, partial(_simulator, task), workers, "simulated points of the sweep")


def chunked(points: Sequence[Point], workers: int) -> Iterator[list[Point]]:
    """Points that replay one table follow each other, and a chunk has one table."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(table_key(point.scenario), []).append(point)
    size = max(1, min(MAX_CHUNK, len(points) // (workers * CHUNKS_PER_WORKER)))
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _simulator(task: Task) -> Callable[[list[Point]], list[PointResult]]:
    """One process's: what it has read serves all its chunks."""
    sources = CachedSources()
    return lambda chunk: [simulate_point(point, task, sources) for point in chunk]
