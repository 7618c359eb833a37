"""Waiting for a time that may stand still: on a machine whose real time the test moves, and on a real page."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from testbed.clock.api import NEVER, WALL
from testbed.clock.page import Page, make
from testbed.clock.waiting import GRACE_NS, HANDLING_NS, Alarm, Barriers, Limit, hold_until, left_s
from testbed.clock.waiting import longest_s as longest_s_of
from tests.clock.interleaved import START_NS
from tests.clock.test_held import Machine
from tests.clock.test_page import Holder

MS = 1_000_000


def test_a_process_has_the_earliest_of_its_barriers() -> None:
    machine = Machine()
    barriers = Barriers(machine.view(0))
    reader = machine.view()
    barriers.set("later", START_NS + 9 * MS)
    barriers.set("first", START_NS + 5 * MS)
    machine.passes(7)
    assert reader.now_ns() == START_NS + 5 * MS
    barriers.set("first", START_NS + 6 * MS)
    machine.passes(7)
    assert reader.now_ns() == START_NS + 6 * MS
    barriers.lift("first")
    machine.passes(7)
    assert reader.now_ns() == START_NS + 9 * MS
    barriers.lift("later")
    barriers.lift("never set")
    machine.passes(1)
    assert reader.now_ns() == START_NS + 10 * MS


def test_who_waits_for_a_time_is_not_held_by_its_own_earlier_barrier(tmp_path: Path) -> None:
    """It could do nothing about it: it would wait for itself for ever."""
    make(tmp_path / "clock")
    clock = Page(tmp_path / "clock").clock("node")
    barriers = Barriers(clock)
    now = clock.now_ns()
    barriers.set("arrival", now + 2 * MS)
    barriers.hold_until(now + 8 * MS)
    assert clock.now_ns() >= now + 8 * MS
    barriers.lift("arrival")


def test_who_has_waited_for_a_time_is_not_late_though_a_later_barrier_would_let_it(tmp_path: Path) -> None:
    """Whoever loses its core right then finds the clock where it was, until it has said that it is done."""
    make(tmp_path / "clock")
    clock = Page(tmp_path / "clock").clock("node")
    barriers = Barriers(clock)
    due = clock.now_ns() + 2 * MS
    barriers.set("handling", due + 30 * MS)
    barriers.hold_until(due)
    time.sleep(0.02)
    assert due <= clock.now_ns() <= due + GRACE_NS
    barriers.go_on()
    time.sleep(0.02)
    assert due + 10 * MS < clock.now_ns() <= due + 30 * MS
    barriers.lift("handling")


@pytest.mark.parametrize("held", [False, True])
def test_an_alarm_rings_when_the_clock_is_there_and_not_before(tmp_path: Path, held: bool) -> None:
    make(tmp_path / "clock")
    clock = Page(tmp_path / "clock").clock("node")
    other = Holder(tmp_path / "clock")
    rang: list[int] = []

    async def wait() -> float:
        other.say("read")
        began, now = time.monotonic(), clock.now_ns()
        if held:
            other.say("barrier 5000000")
            asyncio.get_running_loop().call_later(0.15, other.say, "lift")
        done = asyncio.Event()

        def ring() -> None:
            rang.append(clock.now_ns() - now)
            done.set()

        Alarm(Barriers(clock), now + 60 * MS, ring)
        await asyncio.wait_for(done.wait(), 20)
        return time.monotonic() - began

    try:
        took = asyncio.run(wait())
    finally:
        other.end()
    assert rang[0] >= 60 * MS
    assert rang[0] <= 60 * MS + GRACE_NS + HANDLING_NS, "it is late by no more than its barrier allows"
    assert took >= (0.15 if held else 0.06)


def test_a_cancelled_alarm_neither_rings_nor_holds(tmp_path: Path) -> None:
    make(tmp_path / "clock")
    clock = Page(tmp_path / "clock").clock("node")

    async def cancel() -> None:
        alarm = Alarm(Barriers(clock), clock.now_ns() + 3 * MS, lambda: pytest.fail("it rang"))
        alarm.cancel()
        await asyncio.sleep(0.02)

    asyncio.run(cancel())
    before = clock.now_ns()
    hold_until(clock, before + MS)
    assert clock.held_ns() == 0


def test_how_long_to_sleep_is_by_the_machines_clock() -> None:
    machine = Machine(dilation=4.0)
    clock = machine.view()
    assert left_s(clock, START_NS + 3 * MS) == pytest.approx(0.012)
    assert left_s(clock, START_NS) == 0.0


def test_waiting_on_the_machines_own_clock_ends_at_its_time() -> None:
    due = WALL.now_ns() + 3 * MS
    hold_until(WALL, due)
    assert WALL.now_ns() >= due


@pytest.mark.slow
def test_a_thread_may_read_while_another_sets_barriers(tmp_path: Path) -> None:
    make(tmp_path / "clock")
    page = Page(tmp_path / "clock")
    clock = page.clock("node")
    over = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not over.is_set():
            seen.append(clock.now_ns())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        clock.set_barrier(clock.now_ns() + 200_000)
        time.sleep(0.0002)
    clock.set_barrier(NEVER)
    over.set()
    reader.join()
    assert seen == sorted(seen)


@pytest.mark.parametrize(("dilation", "longest_s"), [(1.0, 2.0), (4.0, 8.0), (0.25, 2.0)])
def test_a_limit_has_passed_on_both_clocks(tmp_path: Path, dilation: float, longest_s: float) -> None:
    make(tmp_path / "clock", dilation)
    clock = Page(tmp_path / "clock").clock("node")
    assert clock.dilation == dilation
    assert longest_s_of(clock, 2.0) == longest_s
    limit, began, now = Limit(clock, 0.04), time.monotonic(), clock.now_ns()
    while not limit.over():
        time.sleep(0.001)
    assert time.monotonic() - began >= 0.04
    assert clock.now_ns() - now >= 40 * MS


def test_the_machines_own_clock_is_not_dilated() -> None:
    assert WALL.dilation == 1
