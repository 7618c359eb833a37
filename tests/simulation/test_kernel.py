"""Virtual time: order by time, then by arrival; cancelled events do nothing; worlds share nothing."""

import random

import pytest

from testbed.simulation.kernel import Kernel


def test_events_run_in_the_order_of_their_time():
    kernel, seen = Kernel(), []
    times = random.Random(1).sample(range(1000), 200)
    for time_ns in times:
        kernel.at(time_ns, lambda at: seen.append((at, kernel.now_ns)), time_ns)
    kernel.run()
    assert seen == [(time_ns, time_ns) for time_ns in sorted(times)]
    assert kernel.events == 200


def test_events_of_one_time_run_first_in_first_out_also_those_made_meanwhile():
    kernel, seen = Kernel(), []

    def first(_):
        seen.append("first")
        kernel.at(kernel.now_ns, seen.append, "made by first")

    kernel.at(5, first)
    kernel.at(5, seen.append, "second")
    kernel.run()
    assert seen == ["first", "second", "made by first"]


def test_arguments_are_never_compared():
    kernel, seen = Kernel(), []
    for argument in (object(), {}, None):
        kernel.at(1, seen.append, argument)
    kernel.run()
    assert len(seen) == 3


def test_a_cancelled_timer_does_nothing_and_the_others_stay():
    kernel, seen = Kernel(), []
    gone, stays = kernel.timer(3, seen.append, "gone"), kernel.timer(3, seen.append, "stays")
    kernel.at(2, lambda _: gone.cancel())
    kernel.run()
    assert seen == ["stays"] and gone.cancelled and not stays.cancelled


def test_a_bounded_run_includes_its_bound_and_can_go_on():
    kernel, seen = Kernel(), []
    for time_ns in (9, 10, 11):
        kernel.at(time_ns, seen.append, time_ns)
    kernel.run(until_ns=10)
    assert seen == [9, 10] and kernel.now_ns == 10
    kernel.run()
    assert seen == [9, 10, 11]


def test_stop_ends_the_run_after_the_event_that_calls_it():
    kernel, seen = Kernel(), []
    kernel.at(1, kernel.stop)
    kernel.at(1, seen.append, "later")
    kernel.run()
    assert not seen
    kernel.run()
    assert seen == ["later"]


def test_the_past_is_refused():
    kernel = Kernel()
    kernel.at(10, lambda _: kernel.at(9, print))
    with pytest.raises(ValueError, match="past"):
        kernel.run()


def test_two_kernels_know_nothing_of_each_other():
    one, other = Kernel(), Kernel()
    one.at(5, lambda _: None)
    one.run()
    assert (one.now_ns, other.now_ns, other.events) == (5, 0, 0)
