"""When a job is due, as its node knows it: what the device's own pacing will say once the passes have run in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.decoding.sampling import Sampling
from testbed.models.devices import load_profile
from testbed.nodes.expected import ExpectedDues, paced_ms
from testbed.nodes.pacing import DeviceClock
from testbed.policies.api import DeviceJob, Draft, DraftTree, Verify, VerifyBatch

PROFILES = {"draft": load_profile("l40s/llama-3.2-1b"), "target": load_profile("l40s/llama-3.1-8b")}
JOBS: list[DeviceJob] = [
    Draft(1, 1, 5, (7, 8), steps=3),
    Draft(2, 1, 0, tuple(range(40)), most=16),
    Verify(3, 1, 10, (1, 2, 3), 2, Sampling()),
    VerifyBatch(4, tuple(Verify(4, request, 10, (1, 2), 1, Sampling()) for request in (1, 2))),
    DraftTree(5, 1, 9, (3,), (4, 5), (-1, -1), (0, 1), 2, 2),
]


@given(st.lists(st.tuples(st.sampled_from(JOBS), st.integers(0, 40_000_000)), max_size=8), st.integers(0, 99))
def test_it_is_what_the_pacing_says_of_passes_that_take_no_time(jobs: list[tuple[DeviceJob, int]], seed: int) -> None:
    expected, device, now = ExpectedDues(PROFILES), DeviceClock(), 0
    for job, later_ns in jobs:
        now += later_ns
        durations = paced_ms(job, PROFILES, seed)
        timings = device.pace(now, [(now, now)] * len(durations), durations)
        assert expected.put(job, now, seed) == timings[-1].finished_ns


def test_a_device_that_is_not_paced_has_no_due_time() -> None:
    native = {"draft": load_profile("native"), "target": load_profile("native")}
    assert all(ExpectedDues(native).put(job, 5, 0) is None for job in JOBS)


def test_a_late_job_delays_the_ones_after_it() -> None:
    expected = ExpectedDues(PROFILES)
    first = expected.put(JOBS[0], 0, 0)
    assert first is not None
    expected.done(first + 1000)
    second = expected.put(JOBS[0], 0, 0)
    assert second == pytest.approx(2 * first + 1000, abs=2)


def test_only_the_last_pass_of_a_job_can_be_late() -> None:
    """What is between is seen by no one, and may be made up for."""
    made_up, late = DeviceClock(), DeviceClock()
    first, second = made_up.pace(0, [(0, 9_000_000), (9_000_000, 9_500_000)], [5.0, 5.0])
    assert (first.overrun_ms, second.overrun_ms, second.finished_ns) == (0.0, 0.0, 10_000_000)
    first, second = late.pace(0, [(0, 9_000_000), (9_000_000, 12_000_000)], [5.0, 5.0])
    assert (first.overrun_ms, second.overrun_ms, second.finished_ns) == (0.0, 2.0, 12_000_000)
