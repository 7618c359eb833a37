"""Processor time and memory of a family of processes, from a made-up /proc and from the real one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from testbed.emulation.usage import TICKS_PER_S, Ticks, Turns, cores_between, memory_mb, slowed, ticks, turns


def proc(folder: Path) -> Path:
    lines = {1: ("init", 0, 5, 5), 10: ("engine (x) y", 1, 100, 20), 11: ("node", 10, 30, 0), 12: ("other", 1, 900, 0)}
    for pid, (name, parent, user, system) in lines.items():
        made = folder / str(pid)
        made.mkdir()
        (made / "stat").write_text(f"{pid} ({name}) S {parent} 0 0 0 0 0 0 0 0 0 {user} {system} 0 0\n")
    (folder / "11" / "smaps_rollup").write_text("00-ff ---p\nRss:  4096 kB\nPss:  2048 kB\nPss_Anon: 1 kB\n")
    (folder / "stat").write_text("cpu  1000 0 200 5000 100 0 0 50 0 0\ncpu0 1 2 3\n")
    (folder / "self").mkdir()
    return folder


def test_the_family_of_a_process_and_the_whole_machine(tmp_path: Path) -> None:
    found = ticks([10], proc(tmp_path))
    assert found.of_run == {10: 120, 11: 30}
    assert found.busy == 1250, "all but idle and waiting for disks; stolen time is somebody's, too"


def test_cores_are_ticks_by_time() -> None:
    first, last = Ticks(0.0, {1: 50, 2: 10}, 1000), Ticks(2.0, {1: 50 + TICKS_PER_S, 3: TICKS_PER_S}, 1000)
    assert cores_between(first, last) == (1.0, 0.0)
    assert cores_between(first, last._replace(busy=1000 + 3 * TICKS_PER_S)) == (1.0, 0.5)


def test_memory_is_shared_fairly_and_may_be_unknown(tmp_path: Path) -> None:
    assert memory_mb([10, 11], proc(tmp_path)) == 2.0
    assert memory_mb([10], tmp_path) is None


def test_this_process_is_busy_while_it_computes() -> None:
    first = ticks([os.getpid()])
    started = time.process_time()
    while time.process_time() - started < 0.2:
        pass
    busy, _ = cores_between(first, ticks([os.getpid()]))
    assert 0 < busy <= 4
    memory = memory_mb([os.getpid()])
    assert memory is not None and memory > 5


def test_a_thread_is_slowed_by_what_it_waits_for_a_core(tmp_path: Path) -> None:
    own = tmp_path / "thread-self"
    own.mkdir()
    (own / "schedstat").write_text("2500000000 1000000000 77\n")
    assert turns(tmp_path) == Turns(2.5, 1.0)
    assert slowed(Turns(0.5, 0.0), turns(tmp_path)) == 1.5
    assert slowed(Turns(2.5, 1.0), Turns(2.6, 2.0)) == pytest.approx(11)


def test_what_has_hardly_run_or_is_not_counted_says_nothing(tmp_path: Path) -> None:
    assert turns(tmp_path) is None
    assert slowed(None, Turns(2.0, 1.0)) is None
    assert slowed(Turns(2.0, 1.0), None) is None
    assert slowed(Turns(2.0, 1.0), Turns(2.01, 5.0)) is None


def test_this_thread_knows_how_long_it_ran() -> None:
    if (first := turns()) is None:
        pytest.skip("this kernel does not count what threads wait for a core (/proc/thread-self/schedstat)")
    started = time.thread_time()
    while time.thread_time() - started < 0.2:
        pass
    last = turns()
    assert last is not None
    assert 0.15 < last.ran_s - first.ran_s < 0.5
    assert (slowed(first, last) or 0) >= 1
