"""Jobs of many devices: earliest due first, each device's own in order, due when its clock says so."""

import random

import pytest

from testbed.nodes.duequeue import DueQueue
from testbed.nodes.pacing import DeviceClock

MS = 1_000_000


def drain(queue):
    while queue.first() is not None:
        yield queue.take()


def test_who_is_due_first_goes_first_whoever_asked_first():
    queue = DueQueue()
    queue.put("slow", 0, 67 * MS, "a")
    queue.put("fast", 10 * MS, 12 * MS, "b")
    assert [(one.due_ns // MS, one.job) for one in drain(queue)] == [(22, "b"), (67, "a")]


def test_a_device_is_one_queue_its_next_job_is_due_a_pass_after_the_one_before():
    queue = DueQueue()
    queue.put("a", 0, 40 * MS, 1)
    queue.put("a", 1 * MS, 40 * MS, 2)
    queue.put("b", 2 * MS, 70 * MS, 3)
    queue.put("a", 200 * MS, 40 * MS, 4)  # an idle device starts at once
    assert [(one.due_ns // MS, one.job) for one in drain(queue)] == [(40, 1), (72, 3), (80, 2), (240, 4)]


@pytest.mark.parametrize("seed", range(20))
def test_dues_are_those_of_device_clocks_whose_real_passes_take_no_time(seed):
    draws = random.Random(seed)
    queue, clocks, dues, at = DueQueue(), {}, {}, 0
    for number in range(200):
        at += draws.randrange(10 * MS)
        device, paced_ms = f"user{draws.randrange(9)}", draws.choice([0, 12, 40, 69.4])
        queue.put(device, at, round(paced_ms * 1e6), (number, at))
        clock = clocks.setdefault(device, DeviceClock())
        if paced_ms:
            dues[number] = clock.pace(at, [(at, at)], [paced_ms])[0].finished_ns
    taken = list(drain(queue))
    assert sorted(one.job[0] for one in taken) == list(range(200))
    assert [one.due_ns for one in taken] == sorted(one.due_ns for one in taken)
    for device in clocks:
        numbers = [one.job[0] for one in taken if one.device == device]
        assert numbers == sorted(numbers)
    assert all(one.due_ns == dues[one.job[0]] for one in taken if one.job[0] in dues)


def test_a_device_that_leaves_takes_its_jobs_along():
    queue = DueQueue()
    for device in "aba":
        queue.put(device, 0, 1, device)
    queue.drop("a")
    assert [one.job for one in drain(queue)] == ["b"]
    assert queue.first() is None
