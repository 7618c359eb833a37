"""One job at a time, requests in turn."""

from __future__ import annotations

import pytest

from testbed.policies.api import Draft, DraftReady
from testbed.policies.jobqueue import JobQueue


def draft(state: str, job: int) -> Draft | None:
    return None if state == "idle" else Draft(job, ord(state), 0, (1,))


def ready(job: int, request: int) -> DraftReady:
    return DraftReady(job, request, (1,), (0.0,), (1.0,), 1.0)


def test_requests_are_served_in_turn_and_idle_ones_are_passed_over() -> None:
    queue: JobQueue[str] = JobQueue()
    for state in ("a", "b", "c"):
        queue.open(ord(state), state)
    queue.open(0, "idle")
    served = []
    for _ in range(6):
        (command,) = queue.start(draft)
        assert isinstance(command, Draft)
        served.append(chr(command.request))
        queue.finished(ready(command.job, command.request))
    assert served == ["a", "b", "c", "a", "b", "c"]


def test_no_second_job_while_one_is_outstanding() -> None:
    queue: JobQueue[str] = JobQueue()
    queue.open(ord("a"), "a")
    assert len(queue.start(draft)) == 1
    assert queue.start(draft) == []


def test_a_result_for_a_closed_request_frees_the_device() -> None:
    queue: JobQueue[str] = JobQueue()
    queue.open(ord("a"), "a")
    queue.start(draft)
    queue.close(ord("a"))
    assert queue.finished(ready(0, ord("a"))) is None
    queue.open(ord("b"), "b")
    assert len(queue.start(draft)) == 1


def test_an_unknown_result_is_refused() -> None:
    with pytest.raises(ValueError, match="job 3 finished while job None"):
        JobQueue().finished(ready(3, 0))
