"""Batches by deadline: hand-made queues whose answer can be checked with a pencil, then properties of any queue."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.policies.wisp.estimator import PassTime
from testbed.policies.wisp.scheduler import NEVER, Parts, Room, Waiting, is_late, next_batch

# 1 ms a token fed, 10 ms a pass, no margin: a pass of n tokens takes 10 + n ms
TIME = PassTime(new_ms=1.0, attended_ms=0.0, cached_ms=0.0, pass_ms=10.0)
ANY = Room()
FCFS = Parts(urgent=False, density=False, deadline_check=False)
BY_DEADLINE = Parts(False, False, False, by_deadline=True)


def one(
    request: int, new: int = 5, deadline: float = NEVER, expected: float = 3.0, since: float = 0.0, memory: int = 0
) -> Waiting:
    return Waiting(request, since, new, 100, expected, deadline, memory)


def chosen(
    queue: list[Waiting], now: float = 0.0, time: PassTime = TIME, room: Room = ANY, **options: object
) -> list[int]:
    return [member.request for member in next_batch(queue, now, time, room, **options)]  # type: ignore[arg-type]


def test_the_earliest_deadline_goes_first_among_the_urgent() -> None:
    """A pass over all takes 25 ms: all three would miss if they waited for one; at most two are in time together."""
    queue = [one(1, deadline=24.0), one(2, deadline=18.0), one(3, deadline=22.0)]
    assert chosen(queue) == [2]  # 15 ms alone; with a second 20 > 18
    queue = [one(1, deadline=24.0), one(2, deadline=20.0), one(3, deadline=22.0)]
    assert chosen(queue) == [2, 3]  # 20 ms; with the third 25 > 20


def test_those_who_can_wait_go_by_tokens_a_millisecond() -> None:
    """1: 3/15, 2: 6/15, 3: 6/30 a ms; none is urgent."""
    queue = [one(1, 5, 900.0, 3.0), one(2, 5, 900.0, 6.0), one(3, 20, 900.0, 5.9)]
    assert chosen(queue) == [2, 1, 3]
    assert chosen(queue, room=Room(requests=1)) == [2]
    assert chosen(queue, parts=Parts(density=False)) == [1, 2, 3]


def test_the_urgent_go_before_a_better_value() -> None:
    queue = [one(1, 5, 900.0, 9.0), one(2, 5, 24.0, 1.0)]
    assert chosen(queue, room=Room(requests=1)) == [2]
    assert chosen(queue, room=Room(requests=1), parts=Parts(urgent=False)) == [1]


def test_nobody_joins_a_batch_that_would_then_miss_its_earliest_deadline() -> None:
    queue = [one(1, 5, 20.0), one(2, 6, 900.0), one(3, 5, 900.0)]
    assert chosen(queue) == [1, 3]  # 10 + 5 + 6 = 21 > 20, 10 + 5 + 5 = 20
    assert chosen(queue, parts=Parts(deadline_check=False)) == [1, 3, 2]  # by value: 3/15 before 3/16
    margin = TIME._replace(margin_ms=1.0)
    assert chosen(queue, time=margin) == [1]


def test_who_is_late_comes_last_and_binds_nobody() -> None:
    """Request 1 cannot be in time even alone (15 > 14): it rides along where that harms nobody."""
    queue = [one(1, 5, 14.0), one(2, 5, 20.0), one(3, 5, 900.0)]
    assert is_late(queue[0], 0.0, TIME) and not is_late(queue[1], 0.0, TIME)
    assert chosen(queue) == [2, 3]
    assert chosen([queue[0], queue[2]]) == [3, 1]
    assert chosen([queue[0]]) == [1]


def test_the_pass_and_the_memory_bound_a_batch() -> None:
    queue = [one(1, 5), one(2, 5, memory=70), one(3, 5, memory=40), one(4, 5)]
    assert chosen(queue, room=Room(tokens=14)) == [1, 2]
    assert chosen(queue, room=Room(memory=100)) == [1, 2, 4]
    assert chosen(queue, room=Room(memory=30)) == [1, 4]
    assert chosen([queue[1]], room=Room(memory=30)) == []


def test_who_has_waited_long_goes_first_late_or_not() -> None:
    queue = [one(1, 5, 14.0, since=0.0), one(2, 5, 125.0, since=90.0)]
    assert chosen(queue, now=100.0, patience_ms=50.0) == [1, 2]
    assert chosen([queue[0], one(2, 5, 119.0, since=90.0)], now=100.0, patience_ms=50.0) == [1]  # 20 ms > 19
    assert chosen(queue, now=100.0, patience_ms=500.0) == [2, 1]


def test_nobody_takes_the_memory_that_a_patient_one_waits_for() -> None:
    queue = [one(1, memory=80, since=0.0), one(2, memory=20, since=90.0), one(3, since=90.0)]
    assert chosen(queue, now=100.0, room=Room(memory=50), patience_ms=1000.0) == [2, 3]
    assert chosen(queue, now=100.0, room=Room(memory=50), patience_ms=50.0) == [3]


def test_without_its_parts_it_is_first_come_first_served() -> None:
    queue = [one(3, deadline=16.0, since=2.0), one(1, 50, since=0.0), one(2, deadline=1.0, since=1.0)]
    assert chosen(queue, parts=FCFS) == [1, 2, 3]
    assert chosen(queue, parts=FCFS, room=Room(tokens=55)) == [1, 2]


waiting = st.builds(
    Waiting,
    request=st.integers(0, 10_000),
    since_ms=st.floats(0, 100),
    new=st.integers(1, 40),
    cached=st.integers(0, 2000),
    expected=st.floats(0, 17),
    deadline_ms=st.one_of(st.just(NEVER), st.floats(90, 400)),
    memory=st.sampled_from([0, 0, 30, 90]),
)
queues = st.lists(waiting, min_size=1, max_size=25, unique_by=lambda each: each.request)
times = st.builds(
    PassTime, st.floats(0, 2), st.floats(0, 1e-4), st.floats(0, 1e-3), st.floats(0.1, 60), st.floats(0, 10)
)
rooms = st.builds(Room, memory=st.sampled_from([None, 0, 100]), tokens=st.sampled_from([None, 64]))
parts = st.sampled_from(
    [Parts(), FCFS, BY_DEADLINE, Parts(urgent=False), Parts(density=False), Parts(deadline_check=False)]
)
NOW = 100.0


@settings(max_examples=400, deadline=None)
@given(queues, times, rooms, st.sampled_from([20.0, NEVER]), parts)
def test_a_batch_is_within_its_bounds(
    queue: list[Waiting], time: PassTime, room: Room, patience_ms: float, on: Parts
) -> None:
    batch = next_batch(queue, NOW, time, room, patience_ms, on)
    assert len({each.request for each in batch}) == len(batch) and set(batch) <= set(queue)
    if room.memory is not None:
        assert sum(each.memory for each in batch) <= room.memory
    if room.tokens is not None:
        assert sum(each.new for each in batch) <= room.tokens
    if not batch:  # only memory keeps a target idle
        assert room.memory is not None and all(each.memory > 0 for each in queue)
    assert batch == next_batch(queue[::-1], NOW, time, room, patience_ms, on)  # the queue's order says nothing


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(queues, times, rooms, st.sampled_from([20.0, NEVER]), st.booleans(), st.booleans())
def test_a_batch_ends_before_the_deadline_of_every_member_that_could_be_in_time(
    queue: list[Waiting], time: PassTime, room: Room, patience_ms: float, urgent: bool, density: bool
) -> None:
    batch = next_batch(queue, NOW, time, room, patience_ms, Parts(urgent, density, True))
    total_ms = time.pass_ms + time.margin_ms
    total_ms += sum(
        time.new_ms * each.load.new + time.attended_ms * each.load.attended + time.cached_ms * each.load.cached
        for each in batch
    )
    for each in batch:
        if not is_late(each, NOW, time):
            assert NOW + total_ms <= each.deadline_ms + 1e-9


@settings(max_examples=100, deadline=None)
@given(queues, times, rooms, parts)
def test_everyone_is_served_in_the_end(queue: list[Waiting], time: PassTime, room: Room, on: Parts) -> None:
    """Memory comes back when a member is done; a new tight request arrives with every pass, and starves nobody."""
    left, now = list(queue), NOW
    for number in range(400):
        if not left:
            break
        fresh = Waiting(20_000 + number, now, 1, 0, 9.0, now + 2 * time.pass_ms)
        batch = next_batch([*left, fresh], now, time, room, 50.0, on)
        assert batch or room.memory == 0
        left = [each for each in left if each not in batch]
        if room.memory == 0:
            left = [each for each in left if not each.memory]  # it would need memory that this device never has
        now += max(1.0, time.predict_ms(batch[0].load)) if batch else 1.0
    assert not left


@pytest.mark.parametrize("count", [300])
def test_the_first_of_many_is_chosen_without_looking_at_their_pairs(count: int) -> None:
    """One pass over the queue, not a search: each request is tried once."""
    tried = []

    class Counted(PassTime):
        def predict_ms(self, load: object) -> float:
            tried.append(load)
            return super().predict_ms(load)  # type: ignore[arg-type]

    next_batch([one(each, deadline=9_000.0) for each in range(count)], 0.0, Counted(*TIME), ANY)
    assert len(tried) <= 5 * count + 1


def test_who_is_well_ahead_waits_while_others_are_served() -> None:
    queue = [one(1, 5, 900.0, 9.0), one(2, 5, 24.0), one(3, 5, NEVER), one(4, 5, 14.0), one(5, 5, 300.0)]
    assert chosen(queue, ahead_ms=500.0, parts=Parts(deadline_check=False)) == [2, 3, 5, 4]
    assert chosen(queue, ahead_ms=100.0, parts=Parts(deadline_check=False)) == [2, 3, 4]
    assert chosen([queue[0], queue[4]], ahead_ms=100.0) == [1]  # all are ahead: one goes, the target is never idle
    late = one(6, 5, 900.0, since=0.0)
    assert chosen([late, one(7, 5, 130.0)], now=100.0, ahead_ms=100.0, patience_ms=50.0) == [6, 7]


def test_by_deadline_the_late_come_first_and_the_pass_is_filled() -> None:
    """Request 1 is late, 2 would be by the pass that 3 and 4 make longer, 5 has no promise: none of that counts."""
    queue = [one(1, 5, 14.0), one(2, 5, 20.0), one(3, 5, 500.0, 9.0), one(4, 9, 400.0, 1.0), one(5)]
    assert chosen(queue, parts=BY_DEADLINE) == [1, 2, 4, 3, 5]
    assert chosen(queue, parts=BY_DEADLINE, room=Room(tokens=15)) == [1, 2, 3]  # 4 does not fit, 3 does
    assert chosen(queue, now=100.0, parts=BY_DEADLINE, patience_ms=50.0, room=Room(requests=2)) == [1, 2]
    old = [*queue[:4], one(5, since=-90.0)]
    assert chosen(old, now=0.0, parts=BY_DEADLINE, patience_ms=50.0, room=Room(requests=2)) == [5, 1]


def test_a_pass_takes_those_who_feed_about_as_much_as_its_first() -> None:
    """Powers of 2: 3 and 4 tokens are alike, 5 to 8 are, 9 are not."""
    queue = [one(1, 5), one(2, 8), one(3, 4), one(4, 3), one(5, 9), one(6, 7)]
    assert chosen(queue, parts=FCFS, bucket=2.0) == [1, 2, 6]
    assert chosen(queue[2:], parts=FCFS, bucket=2.0) == [3, 4]
    assert chosen(queue, parts=FCFS, bucket=10.0) == [1, 2, 3, 4, 5, 6]
    assert chosen(queue, parts=FCFS) == [1, 2, 3, 4, 5, 6]


@settings(max_examples=100, deadline=None)
@given(queues, times, rooms, parts, st.sampled_from([1.5, 2.0, 4.0]))
def test_buckets_starve_nobody(queue: list[Waiting], time: PassTime, room: Room, on: Parts, bucket: float) -> None:
    left, now = [each._replace(memory=0) for each in queue], NOW
    for number in range(400):
        if not left:
            break
        fresh = Waiting(20_000 + number, now, 1, 0, 9.0, now + 2 * time.pass_ms)
        batch = next_batch([*left, fresh], now, time, room, 50.0, on, bucket=bucket)
        assert batch
        left = [each for each in left if each not in batch]
        now += max(1.0, time.predict_ms(batch[0].load))
    assert not left
