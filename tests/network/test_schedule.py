"""A series and events become steps: absolute states at absolute times, each with its differences alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from testbed.network.spec.fabric import BurstLoss, Link
from testbed.network.spec.schedule import LinkSchedule, PairEvent, PairSchedule, Step
from testbed.network.spec.series import SteppedDelay

S = 1_000_000_000
MS = 1_000_000
PLACEMENT = {"a": "near", "b": "near", "c": "far"}
LINKS = [Link(src, dst, 1.0 if {src, dst} == {"a", "b"} else 10.0) for src in PLACEMENT for dst in PLACEMENT
         if src != dst]  # fmt: skip


def stepped(*delays_ms: float, every_s: float = 1.0, loop: bool = True) -> SteppedDelay:
    times = tuple(round(index * every_s * S) for index in range(len(delays_ms)))
    return SteppedDelay(
        times, tuple(round(ms * MS) for ms in delays_ms), round(len(delays_ms) * every_s * S) if loop else None
    )


def pair(name: str) -> tuple[str, str]:
    src, dst = name.split("_")
    return src, dst


def schedule(**pairs: PairSchedule) -> LinkSchedule:
    """`near_far=...`: what happens to the links from near to far."""
    return LinkSchedule(LINKS, PLACEMENT, {pair(name): one for name, one in pairs.items()})


def seen(steps: list[Step]) -> list[tuple[float, dict[str, float]]]:
    """Time in s, and the delay of each changed link."""
    return [(step.at_ns / S, {f"{link.src}>{link.dst}": link.one_way_ms for link in step.links}) for step in steps]


def test_a_series_that_holds_ends_and_one_that_loops_does_not() -> None:
    held = schedule(near_far=PairSchedule(stepped(10, 30, 20, loop=False)))
    assert seen(list(held.steps())) == [(1, {"a>c": 30, "b>c": 30}), (2, {"a>c": 20, "b>c": 20})]
    looped = schedule(near_far=PairSchedule(stepped(10, 30)))
    assert [at_s for at_s, _ in seen(list(islice(looped.steps(), 5)))] == [1, 2, 3, 4, 5]
    assert seen(list(islice(looped.steps(), 2)))[1] == (2, {"a>c": 10, "b>c": 10})


def test_a_value_that_repeats_is_no_step_and_only_what_differs_is_sent() -> None:
    both = schedule(near_far=PairSchedule(stepped(10, 10, 40)), far_near=PairSchedule(stepped(5, 6, 6)))
    assert seen(list(islice(both.steps(), 3))) == [
        (1, {"c>a": 6, "c>b": 6}),
        (2, {"a>c": 40, "b>c": 40}),
        (3, {"a>c": 10, "b>c": 10, "c>a": 5, "c>b": 5}),
    ]


def test_steps_added_up_are_the_state_at_every_moment() -> None:
    """Differences lose nothing: applied in order they give what the schedule says outright."""
    changing = schedule(
        near_far=PairSchedule(stepped(10, 17, 12, every_s=0.3), (PairEvent(S, up=False), PairEvent(2 * S, up=True))),
        far_near=PairSchedule(None, (PairEvent(round(0.7 * S), one_way_ms=3.0, rate_bps=8_000_000),)),
    )
    state = {(link.src, link.dst): link for link in changing.at(0)}
    for step in islice(changing.steps(), 40):
        state |= {(link.src, link.dst): link for link in step.links}
        assert list(state.values()) == changing.at(step.at_ns)


def test_an_event_changes_what_it_names_and_keeps_the_rest() -> None:
    bursty = Link("a", "c", 10.0, burst_loss=BurstLoss(0.1, 0.5), jitter_ms=1.0)
    one = PairSchedule(None, (PairEvent(S, rate_bps=1_000_000), PairEvent(2 * S, loss=0.2), PairEvent(3 * S, up=False)))
    assert one.at(bursty, S - 1) == bursty
    assert one.at(bursty, S).rate_bps == 1_000_000 and one.at(bursty, S).burst_loss == BurstLoss(0.1, 0.5)
    after = one.at(bursty, 3 * S)
    assert (after.up, after.loss, after.burst_loss, after.rate_bps, after.jitter_ms) == (
        False,
        0.2,
        None,
        1_000_000,
        1.0,
    )


def test_of_two_events_at_one_time_the_later_wins_in_one_step() -> None:
    at_once = schedule(near_far=PairSchedule(None, (PairEvent(S, up=False), PairEvent(S, up=True, one_way_ms=4.0))))
    assert seen(list(at_once.steps())) == [(1, {"a>c": 4.0, "b>c": 4.0})]


@pytest.mark.parametrize(
    ("events", "cuts"),
    [
        ([], []),
        ([PairEvent(S, up=True)], []),
        ([PairEvent(S, up=False), PairEvent(S, up=True)], []),
        ([PairEvent(S, up=False), PairEvent(2 * S, up=True)], [(S, 2 * S)]),
        ([PairEvent(S, up=False), PairEvent(2 * S, loss=0.1), PairEvent(3 * S, up=False)], [(S, None)]),
        ([PairEvent(S, up=False), PairEvent(2 * S, up=True), PairEvent(3 * S, up=False)], [(S, 2 * S), (3 * S, None)]),
    ],
)
def test_when_a_pair_is_cut_and_whether_for_good(events: list[PairEvent], cuts: list[tuple[int, int | None]]) -> None:
    schedule = PairSchedule(None, tuple(events))
    assert schedule.cuts == cuts
    assert schedule.ends_cut == next((since for since, until in cuts if until is None), None)


def test_what_a_fabric_must_be_able_to_do_is_known_before_anything_runs() -> None:
    changing = schedule(
        near_far=PairSchedule(stepped(10, 2, 80)), far_near=PairSchedule(None, (PairEvent(S, one_way_ms=30),))
    )
    assert {(link.src, link.dst): link.one_way_ms for link in changing.lowest()} == {
        ("a", "c"): 2, ("b", "c"): 2, ("c", "a"): 10, ("c", "b"): 10,
    }  # fmt: skip
    assert changing.slowest_rtt_ms() == 110
    assert schedule().slowest_rtt_ms() == 20 and schedule().moving == [] and list(schedule().steps()) == []


def test_steady_pairs_are_those_over_which_nothing_is_lost_late_or_out_of_order() -> None:
    pairs = {(link.src, link.dst) for link in LINKS}
    assert schedule().steady() == pairs
    moving = schedule(near_far=PairSchedule(None, (PairEvent(S, one_way_ms=20.0),)))
    assert moving.steady() == {("a", "b"), ("b", "a")}, "a packet and its acknowledgement go both ways"
    for effect in ({"loss": 0.1}, {"burst_loss": BurstLoss(0.1, 0.5)}, {"jitter_ms": 1.0}, {"reorder": 0.1},
                   {"rate_bps": 10_000_000}):  # fmt: skip
        first, *others = LINKS
        one = LinkSchedule([replace(first, **effect), *others], PLACEMENT, {})  # type: ignore[arg-type]
        assert pairs - one.steady() == {("a", "b"), ("b", "a")}
