"""Runs simulated points in processes: each reads its inputs once and takes points in chunks.

Rule kept: a point's result depends on the point alone, so neither the number of workers nor the order matters. A worker
never outlives the process that started it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any

from testbed.errors import MachineCannot
from testbed.interrupt import shielded
from testbed.results import manifest
from testbed.sweep.plan import Point
from testbed.sweep.point import PointResult, Task, simulate_point
from testbed.sweep.sources import CachedSources, table_key

MAX_CHUNK = 32  # points between two lines of the journal and two moves of the bar
CHUNKS_PER_WORKER = 16  # so that the last ones to finish do not wait long for each other


def default_workers() -> int:
    return manifest.cores()


def results(points: Sequence[Point], task: Task, workers: int) -> Iterator[list[PointResult]]:
    """Results in chunks, as they come."""
    chunks = list(chunked(points, workers))
    if workers == 1:
        sources = CachedSources()
        for chunk in chunks:
            yield [simulate_point(point, task, sources) for point in chunk]
        return
    with pool(min(workers, len(chunks)), _start, task) as processes:
        waiting: set[Future[list[PointResult]]] = {processes.submit(_chunk, chunk) for chunk in chunks}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    raise MachineCannot(
                        "a worker process of the sweep was killed, as happens when memory runs out; run the same "
                        "command with fewer --workers: what is finished is not done again"
                    ) from None


def chunked(points: Sequence[Point], workers: int) -> Iterator[list[Point]]:
    """Points that replay one table follow each other, and a chunk has one table."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(table_key(point.scenario), []).append(point)
    size = max(1, min(MAX_CHUNK, len(points) // (workers * CHUNKS_PER_WORKER)))
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


@contextmanager
def pool(workers: int, start: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Workers are started anew, not forked, so that no thread or lock of this process is copied half-way.

    `start` runs first in each of them, and calls `started`.
    """
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=start, initargs=arguments
    )
    try:
        yield executor
    except BaseException:  # an interrupt above all: nobody waits for points that are no longer wanted
        with shielded():
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


class _Worker:
    """What one worker process keeps between chunks."""

    task: Task
    sources: CachedSources


def started() -> None:
    """A worker process belongs to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the sweep's own process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _start(task: Task) -> None:
    started()
    _Worker.task, _Worker.sources = task, CachedSources()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


def _chunk(points: Iterable[Point]) -> list[PointResult]:
    task, sources = _Worker.task, _Worker.sources
    return [simulate_point(point, task, sources) for point in points]
