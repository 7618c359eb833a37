"""The emulated device: what is in time looks exactly as the profile says, what is late is an overrun."""

import pytest

from testbed.nodes.pacing import DeviceClock

MS = 1_000_000


def test_a_pass_in_time_ends_exactly_when_the_device_would():
    (timing,) = DeviceClock().pace(10 * MS, [(11 * MS, 14 * MS)], [23.4])
    assert (timing.started_ns, timing.finished_ns) == (10 * MS, round(33.4 * MS))
    assert (timing.real_ms, timing.overrun_ms) == (3.0, 0.0)


def test_a_late_pass_is_an_overrun_by_exactly_what_it_is_late():
    (timing,) = DeviceClock().pace(10 * MS, [(11 * MS, 40 * MS)], [23.4])
    assert timing.finished_ns == 40 * MS
    assert timing.overrun_ms == pytest.approx(40 - 33.4)


def test_the_device_is_one_queue_a_job_waits_for_the_one_before():
    clock = DeviceClock()
    clock.pace(0, [(0, 1 * MS)], [10.0])
    (second,) = clock.pace(2 * MS, [(2 * MS, 3 * MS)], [5.0])
    assert (second.started_ns, second.finished_ns) == (10 * MS, 15 * MS)
    (third,) = clock.pace(40 * MS, [(41 * MS, 42 * MS)], [5.0])
    assert third.started_ns == 40 * MS  # an idle device starts at once


def test_passes_of_one_job_follow_each_other_without_gap():
    first, second = DeviceClock().pace(0, [(0, 1 * MS), (1 * MS, 2 * MS)], [7.5, 7.5])
    assert first.finished_ns == second.started_ns == round(7.5 * MS)
    assert second.finished_ns == 15 * MS


def test_an_unpaced_device_takes_its_real_time_and_never_overruns():
    (timing,) = DeviceClock().pace(10 * MS, [(12 * MS, 15 * MS)], [0.0])
    assert (timing.started_ns, timing.finished_ns, timing.overrun_ms) == (12 * MS, 15 * MS, 0.0)
