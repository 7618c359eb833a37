"""Runs a policy and checks what every run must keep: losslessness, and that nothing is left behind."""

from __future__ import annotations

from typing import TypeVar

from testbed.testing import HashModels, Job, Loop

L = TypeVar("L", bound=Loop)


def checked(watched: L, work: list[Job], models: HashModels, about: object = None) -> L:
    """The same loop, run (invariants 1 and 4)."""
    result = watched.run(work)
    for job in work:
        assert tuple(result.outputs[job.request]) == models.reference(job), (about, job)
    assert set(result.finished_ms) == {job.request for job in work}
    assert result.open_caches == 0
    return watched
