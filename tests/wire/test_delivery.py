"""A stream over a transport that loses, doubles and mixes up: delivered whole, in order, once; or known to be lost."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.wire.delivery import KEPT, Delivery
from testbed.wire.messages import Close

Stream = Delivery[Close, Close]


def sent(here: Stream, request: int) -> tuple[int, Close]:
    number = here.next_number()
    here.keep(number, Close(request))
    return number, Close(request)


def test_in_order_nothing_is_kept_back_or_asked_for() -> None:
    here, there = Stream(), Stream()
    for request in range(5):
        number, _ = sent(here, request)
        assert there.received(number, Close(request)) == [Close(request)] and not there.misses(here.sent)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 60), st.floats(0, 0.9), st.floats(0, 0.9))
def test_all_arrive_once_and_in_order(seed: int, count: int, loss: float, twice: float) -> None:
    chance, here, there = random.Random(seed), Stream(), Stream()
    under_way = [sent(here, request) for request in range(count)]
    delivered: list[Close] = []
    for _ in range(10_000):
        chance.shuffle(under_way)
        for number, message in under_way:
            for _ in range(1 + (chance.random() < twice)):
                if chance.random() >= loss:
                    delivered += there.received(number, message)
        if not there.misses(here.sent):
            break
        under_way = here.again(there.heard) or []
    assert delivered == [Close(request) for request in range(count)]


def test_what_is_kept_no_longer_is_said_to_be_lost() -> None:
    here = Stream()
    for request in range(KEPT + 1):
        sent(here, request)
    assert here.again(0) is None
    assert here.again(1) is not None and here.again(KEPT + 1) == []


def test_a_peer_that_was_started_anew_is_a_stranger() -> None:
    here = Stream()
    assert here.knows(17) and here.knows(17) and not here.knows(18)


def test_what_arrived_is_kept_no_longer() -> None:
    here = Stream()
    sent(here, 1)
    here.pinged(sent_ns=10)
    sent(here, 2)
    here.ponged(ping_sent_ns=10)
    assert here.again(0) is None and here.again(1) == [(2, Close(2))]


def test_a_ping_from_before_a_break_tells_nothing_of_what_is_sent_again() -> None:
    here = Stream()
    sent(here, 1)
    here.pinged(sent_ns=10)
    assert here.again(0) == [(1, Close(1))]  # so it had not arrived, or has not yet
    here.ponged(ping_sent_ns=10)
    assert here.again(0) == [(1, Close(1))]
    here.pinged(sent_ns=20)
    here.interrupted()
    here.ponged(ping_sent_ns=20)
    assert here.again(0) == [(1, Close(1))]
