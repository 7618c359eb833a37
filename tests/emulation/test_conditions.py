"""A phase's own events: one that cannot be carried out is not an event that happened. No network and no node is
made."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.clock.api import WALL
from testbed.clock.run import Moment
from testbed.emulation.conditions import Conditions
from testbed.errors import MachineCannot, RunInvalid
from testbed.experiment.faults import Event
from testbed.network.spec.schedule import LinkSchedule

STOP = Event(at_s=0.01, stop_node="drafter0")


def conditions() -> Conditions:
    unused: Any = None
    clock: Any = SimpleNamespace(
        clock=WALL, dilation=1.0, moment=lambda: Moment(time.monotonic_ns(), time.monotonic_ns(), {})
    )
    return Conditions(unused, LinkSchedule([], {}, {}), [STOP], [], unused, unused, unused, clock)


def deployment(freeze: Callable[[str], None], thawed: list[int]) -> Any:
    return SimpleNamespace(freeze=freeze, thaw=lambda: thawed.append(1))


def test_a_node_that_cannot_be_stopped_ends_the_run() -> None:
    tried: list[str] = []

    def refuse(name: str) -> None:
        tried.append(name)
        raise MachineCannot("the engine cannot pause")

    met, thawed = conditions(), list[int]()
    with (
        pytest.raises(RunInvalid, match="drafter0 could not be stopped: the engine cannot pause"),
        met.phase("p", 0, deployment(refuse, thawed)) as phase,
    ):
        phase.begin()
        _until(lambda: bool(tried))
    assert thawed and not met.replayed


def test_a_node_that_stopped_is_noted_with_its_time_and_goes_on_after_the_phase() -> None:
    stopped: list[str] = []
    met, thawed = conditions(), list[int]()
    with met.phase("p", 0, deployment(stopped.append, thawed)) as phase:
        phase.begin()
        _until(lambda: bool(stopped))
        assert not thawed
        phase.requests_over()
    (row,) = met.replayed
    assert stopped == ["drafter0"] and thawed
    assert row.what.endswith("drafter0") and row.scheduled_ns <= row.applied_ns


def test_how_long_a_phase_took_is_kept_from_its_start_to_its_last_answer() -> None:
    met = conditions()
    with met.phase("p", 1, deployment(lambda name: None, [])) as phase:
        time.sleep(0.05)
        phase.begin()
        phase.requests_over()
        time.sleep(0.05)
    (kept,) = met.phases
    assert kept[:2] == ("p", 1) and 0 <= kept.lasted_s < 0.05


def _until(done: Callable[[], bool]) -> None:
    for _ in range(1000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("the event did not come")
