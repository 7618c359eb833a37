"""A replay carries steps out at absolute deadlines, prepares the next before it sleeps, and writes down what was."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest

from testbed.errors import BadInput
from testbed.network.live.replay import Applied, Replay, without_base
from testbed.network.spec.fabric import Link
from testbed.network.spec.schedule import LinkSchedule, PairSchedule, Step
from tests.network.test_schedule import LINKS, PLACEMENT, stepped

S = 1_000_000_000
START = 1_000 * S
BASE = {(link.src, link.dst): 0.25 for link in LINKS}


class Recorded:
    """Stands in for the fabric and the clock: each change takes `takes_ns`."""

    def __init__(self, takes_ns: int = 0) -> None:
        self.now_ns = START
        self.prepared: list[list[Link]] = []
        self.changes: list[list[Link]] = []
        self._takes_ns = takes_ns

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        self.prepared.append(list(links))
        return functools.partial(self._change, links)

    def _change(self, links: Sequence[Link]) -> None:
        self.changes.append(list(links))
        self.now_ns += self._takes_ns

    def replay(self, schedule: LinkSchedule) -> Replay:
        return Replay(schedule, BASE, START, self.prepare, lambda: self.now_ns)


def looping(*delays_ms: float) -> LinkSchedule:
    return LinkSchedule(LINKS, PLACEMENT, {("near", "far"): PairSchedule(stepped(*delays_ms))})


def test_deadlines_count_from_the_start_so_that_lateness_never_adds_up() -> None:
    fabric = Recorded(takes_ns=7_000_000)
    replay = fabric.replay(looping(10, 20))
    for _ in range(5):
        assert replay.due_ns is not None
        fabric.now_ns = replay.due_ns + 3_000_000  # woken late each time
        replay.carry_out()
    assert replay.log == [
        Applied(START + k * S, START + k * S + 3_000_000, START + k * S + 10_000_000, 2) for k in range(1, 6)
    ]
    assert replay.due_ns == START + 6 * S


def test_links_are_sent_without_the_bare_path() -> None:
    fabric = Recorded()
    replay = fabric.replay(looping(10, 20))
    replay.carry_out()
    assert fabric.changes == [[Link("a", "c", 19.75), Link("b", "c", 19.75)]]


def test_the_next_step_is_ready_before_the_wait_for_it() -> None:
    """What a step costs to work out is spent after the one before it, not when it is due."""
    worked_out = []

    class Watched(LinkSchedule):
        def steps(self):
            for step in super().steps():
                worked_out.append(step.at_ns)
                yield step

    fabric = Recorded()
    replay = fabric.replay(Watched(LINKS, PLACEMENT, {("near", "far"): PairSchedule(stepped(10, 20))}))
    assert worked_out == [S]
    assert (len(fabric.prepared), len(fabric.changes)) == (1, 0)
    replay.carry_out()
    assert worked_out == [S, 2 * S]
    assert (len(fabric.prepared), len(fabric.changes)) == (2, 1)


def test_a_schedule_that_ends_leaves_nothing_due() -> None:
    fabric = Recorded()
    replay = fabric.replay(LinkSchedule(LINKS, PLACEMENT, {("near", "far"): PairSchedule(stepped(10, 20, loop=False))}))
    replay.carry_out()
    assert replay.due_ns is None
    replay.carry_out()
    assert len(fabric.changes) == 1


def test_a_link_shorter_than_the_bare_path_is_refused_and_everything_else_is_kept() -> None:
    with pytest.raises(BadInput, match=r"a -> c asks for 0\.200 ms one way, but the bare path takes 0\.250 ms"):
        without_base(Link("a", "c", 0.2), BASE)
    cut = Link("a", "c", 10.0, loss=0.1, rate_bps=8_000_000, up=False)
    assert without_base(cut, BASE) == Link("a", "c", 9.75, loss=0.1, rate_bps=8_000_000, up=False)


def test_a_step_is_plain_data() -> None:
    """It goes to another process."""
    import pickle

    schedule = looping(10, 20)
    assert next(pickle.loads(pickle.dumps(schedule)).steps()) == next(schedule.steps())
    assert isinstance(next(schedule.steps()), Step)
