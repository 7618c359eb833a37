"""A run's page of memory: made, reported on, and removed with what the run's journal names."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.clock.held import Holds
from testbed.clock.page import Page
from testbed.clock.run import Moment, RunClock, between
from testbed.containers.removal import remove_named
from testbed.system.journal import Journal
from tests.clock.test_page import Holder

MS = 1_000_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "run" / "journal.jsonl")
    try:
        yield made
    finally:
        made.undo(remove_named)
        made.close()


def test_its_folder_is_private_and_goes_with_the_run(journal: Journal) -> None:
    with RunClock(journal) as clock:
        assert stat.S_IMODE(clock.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(clock.path.stat().st_mode) == 0o600
    assert clock.path.exists()
    journal.undo(remove_named)
    assert not clock.path.parent.exists()


def test_a_page_for_containers_may_be_written_by_their_user(journal: Journal) -> None:
    with RunClock(journal, contained=True) as clock:
        assert stat.S_IMODE(clock.path.stat().st_mode) == 0o666
        assert stat.S_IMODE(clock.path.parent.stat().st_mode) == 0o700


def test_a_node_stopped_on_purpose_is_not_waited_for(journal: Journal) -> None:
    with RunClock(journal) as run:
        holder = Holder(run.path)
        try:
            holder.say("barrier 1000000")
            time.sleep(0.02)
            assert run.clock.now_ns() == run.clock.now_ns(), "it is held"
            assert run.excuse("another")
            stands = run.clock.now_ns()
            time.sleep(0.01)
            assert run.clock.now_ns() == stands
            assert run.excuse("holder")
            time.sleep(0.01)
            assert run.clock.now_ns() > stands
        finally:
            holder.end()


def test_a_node_stopped_while_it_changes_the_clock_is_found(journal: Journal) -> None:
    """Its stop must be tried again, or all others would wait for what it has."""
    with RunClock(journal) as run:
        other = Page(run.path)
        other._exclusion.take()
        assert not run.excuse("node")
        other._exclusion.give_back()
        assert run.excuse("node")
        other.close()


def test_what_a_phase_cost_is_told_by_who_held_the_clock() -> None:
    first = Moment(0, 0, {"relay": Holds(5 * MS, 3, 2 * MS, 0), "idle": Holds(0, 0, 0, 0)})
    last = Moment(
        1000 * MS,
        900 * MS,
        {"relay": Holds(65 * MS, 8, 30 * MS, 0), "node": Holds(40 * MS, 1, 40 * MS, 1), "idle": Holds(0, 0, 0, 0)},
    )
    told = between("wanspec", 1, first, last, 1.0)
    assert told[:6] == ("wanspec", 1, 1.0, 0.9, 0.1, 0.9)
    assert told.holders == {"relay": (60.0, 5, 30.0, 0), "node": (40.0, 1, 40.0, 1)}


def test_at_another_dilation_the_share_that_was_held_is_of_the_speed_wanted() -> None:
    told = between("p", 0, Moment(0, 0, {}), Moment(4000 * MS, 900 * MS, {}), 4.0)
    assert (told.speed, told.held_share) == (0.225, 0.1)
