"""A probe is held against its links as they were when it entered them, and only where there is one right answer."""

from __future__ import annotations

import pytest

from testbed.network.live.replay import Applied
from testbed.network.measure.drift import History, histories, judge
from testbed.network.measure.watch import PER_PAIR_PER_S, TOGETHER_PER_S, Probe, interval_s
from testbed.network.spec.fabric import Link
from testbed.network.spec.schedule import LinkSchedule, PairSchedule
from tests.network.test_schedule import LINKS, PLACEMENT, stepped

S = 1_000_000_000
MS = 1_000_000
STILL = LinkSchedule(LINKS, PLACEMENT, {})


def test_a_probe_over_still_links_is_compared_with_their_sum() -> None:
    (one,) = judge([Probe("a", "c", 5 * S, 10_200_000, 9_900_000)], histories(STILL, []))
    assert (one.specified_ms, one.rtt_ms, one.one_way_specified_ms, one.one_way_ms) == (20, 20.1, 10, 10.2)
    assert one.comparable


def changed(sent_s: float, forward_ms: float = 30.0, backward_ms: float = 10.0):
    """near -> far goes from 10 to 30 ms at 1 s, and back at 2 s; each step took effect 5 ms late, in 2 ms."""
    schedule = LinkSchedule(LINKS, PLACEMENT, {("near", "far"): PairSchedule(stepped(10, 30))})
    applied = [Applied(k * S, k * S + 3 * MS, k * S + 5 * MS, 2) for k in (1, 2)]
    probe = Probe("a", "c", round(sent_s * S), round(forward_ms * MS), round(backward_ms * MS))
    (one,) = judge([probe], histories(schedule, applied))
    return one


@pytest.mark.parametrize(
    ("sent_s", "specified_ms", "comparable"),
    [
        (0.997, 20, True),  # it entered before
        (0.999, 40, False),  # it may have entered before or after
        (1.001, 40, False),  # due, not yet in force
        (1.006, 40, True),
        (1.9, 40, True),
        (2.006, 20, False),  # falling by 20 ms: what entered before leaves first
        (2.024, 20, False),
        (2.026, 20, True),
    ],
)
def test_each_probe_is_held_against_the_state_at_its_own_time(
    sent_s: float, specified_ms: float, comparable: bool
) -> None:
    one = changed(sent_s)
    assert (one.specified_ms, one.comparable) == (specified_ms, comparable)


def test_the_way_back_is_judged_at_the_moment_of_turning() -> None:
    schedule = LinkSchedule(LINKS, PLACEMENT, {("far", "near"): PairSchedule(stepped(10, 30))})
    applied = [Applied(S, S, S, 2)]
    before, after = judge(
        [Probe("a", "c", S - 13 * MS, 10 * MS, 10 * MS), Probe("a", "c", S - 9 * MS, 10 * MS, 30 * MS)],
        histories(schedule, applied),
    )
    assert (before.specified_ms, after.specified_ms) == (20, 40)


def test_a_change_while_an_earlier_fall_settles_does_not_shorten_it() -> None:
    history = History.of(Link("a", "c", 100.0))
    history.change(Link("a", "c", 10.0), S, S)
    history.change(Link("a", "c", 12.0), S + 20 * MS, S + 20 * MS)
    assert not history.at(S + 80 * MS)[1]
    assert history.at(S + 91 * MS) == (Link("a", "c", 12.0), True)


def test_a_probe_lost_to_a_cut_that_it_met_on_entering_is_held_against_nobody() -> None:
    """A clock is read before a packet leaves; one such probe, judged by the link before, would make a run invalid."""
    history = History.of(Link("a", "c", 10.0))
    history.change(Link("a", "c", 10.0, up=False), S, S + MS)
    still = histories(STILL, []) | {("a", "c"): history}
    (lost,) = judge([Probe("a", "c", S - MS // 10, None, None)], still)
    assert not lost.comparable


@pytest.mark.parametrize("link", [Link("a", "c", 10, up=False), Link("a", "c", 10, rate_bps=8_000_000),
                                  Link("a", "c", 10, jitter_ms=1), Link("a", "c", 10, reorder=0.1)])  # fmt: skip
def test_where_there_is_no_one_right_answer_nothing_is_judged(link: Link) -> None:
    assert not History.of(link).at(0)[1]


def test_a_lost_probe_counts_only_where_nothing_is_meant_to_be_lost() -> None:
    still = histories(STILL, [])
    (lost,) = judge([Probe("a", "c", S, None, None)], still)
    assert lost.comparable and lost.rtt_ms is None
    still["c", "a"] = History.of(Link("c", "a", 10.0, loss=0.01))
    (lost,) = judge([Probe("a", "c", S, None, None)], still)
    assert not lost.comparable


@pytest.mark.parametrize("pairs", [1, 3, 32, 240])
def test_the_rate_is_bounded_per_pair_and_in_total(pairs: int) -> None:
    assert 1 / interval_s(pairs) <= PER_PAIR_PER_S
    assert pairs / interval_s(pairs) <= TOGETHER_PER_S
