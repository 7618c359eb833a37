"""Groups of processes end together: those of this journal and no others, the stubborn ones too."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.system import undoing
from testbed.system.undoing import MARK, stop_groups

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.1; done"
OBEDIENT = "echo up; exec sleep 60"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for one in processes:
        one.kill()
        one.communicate()


def leader(started: list[subprocess.Popen[bytes]], script: str, journal: Path) -> int:
    """A process that leads a group of its own and carries the mark of a journal."""
    environment = {**os.environ, MARK: str(journal)}
    process = subprocess.Popen(
        ["sh", "-c", script], env=environment, stdout=subprocess.PIPE, process_group=0, start_new_session=False
    )
    started.append(process)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    return process.pid


def test_all_groups_have_one_time_to_obey_and_strangers_stay(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    stubborn = [leader(started, STUBBORN, ours) for _ in range(4)]
    obedient = leader(started, OBEDIENT, ours)
    stranger, left_alone = leader(started, OBEDIENT, other), leader(started, OBEDIENT, ours)
    begun = time.monotonic()
    stop_groups({*stubborn, obedient, stranger}, ours)
    took_s = time.monotonic() - begun
    statuses = {process.pid: process.poll() for process in started}
    deadline = time.monotonic() + 10
    while None in [statuses[pid] for pid in (*stubborn, obedient)] and time.monotonic() < deadline:
        time.sleep(0.01)
        statuses = {process.pid: process.poll() for process in started}
    assert [statuses[pid] for pid in stubborn] == [-signal.SIGKILL] * 4
    assert statuses[obedient] == -signal.SIGTERM
    assert statuses[stranger] is None and statuses[left_alone] is None
    single = leader(started, STUBBORN, ours)
    begun = time.monotonic()
    stop_groups({single}, ours)
    assert took_s < 2.5 * (time.monotonic() - begun), "four at once take no four times as long as one"


def test_how_often_proc_is_looked_through_does_not_depend_on_the_groups(
    started: list[subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = undoing._members_of

    def counted(groups: set[int]) -> list[int]:
        nonlocal looks
        looks += 1
        return look(groups)

    monkeypatch.setattr(undoing, "_members_of", counted)
    gone = [leader(started, "echo up", tmp_path) for _ in range(5)]
    for process in started:
        process.wait()
    stop_groups(set(gone), tmp_path)
    assert looks == 3
    stop_groups(set(), tmp_path)
    assert looks == 3
