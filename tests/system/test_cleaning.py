"""`clean` always cleans: one journal that cannot be undone stops no other, and nobody's is taken away (invariant 5)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed.containers.removal import remove_named
from testbed.errors import MachineCannot
from testbed.system.cleaning import clean
from testbed.system.journal import JOURNAL_NAME, NEW, Journal, parse
from testbed.system.makers import boot_id, start_time

DEAD = {"kind": "holder", "name": "1", "start": 10**15}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state


def left(state: Path, attempt: str, *lines: object, holder: dict[str, object] = DEAD) -> Path:
    """A dead attempt's journal."""
    path = state / attempt / JOURNAL_NAME
    path.parent.mkdir()
    path.write_bytes(
        b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in (holder, *lines))
    )
    return path


def folder(path: Path) -> dict[str, object]:
    path.mkdir()
    (path / "file").touch()
    return {"kind": "directory", "name": str(path)}


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "group", "name": "\xff"}',
        b'{"kind": "group", "name": null}',
        b'{"kind": "group", "name": "no number", "start": 3}',
        b'{"kind": "group", "name": "12", "start": "x"}',
        b'{"kind": "a kind of tomorrow", "name": "x"}',
        b'{"kind": "directory", "name": 5}',
        b'{"kind": "directory"',
        b"[1, 2]",
        b"",
        b"\x00" * 30,
    ],
)
def test_a_line_that_cannot_be_understood_stops_neither_the_others_nor_other_journals(
    state: Path, tmp_path: Path, line: bytes
) -> None:
    damaged = left(state, "a", folder(tmp_path / "before"), line, folder(tmp_path / "after"))
    left(state, "b", folder(tmp_path / "other"))
    said, failed = clean(remove_named, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    assert "b: clean" in said
    (complaint,) = failed
    assert complaint.startswith(f"{damaged}:3: ")
    assert damaged.exists(), "it may name what nobody has understood"


def test_an_engine_that_no_longer_answers_stops_no_other(state: Path, tmp_path: Path) -> None:
    def silent(entries: Sequence[str], attempt: str) -> tuple[list[str], list[Exception]]:
        return [], [MachineCannot(f"container {entries[0]} of {attempt} may still exist")]

    container = {"kind": "container", "name": "unix:///nowhere c"}
    stays = left(state, "a", folder(tmp_path / "first"), container, folder(tmp_path / "second"))
    left(state, "b", folder(tmp_path / "other"))
    said, failed = clean(silent, state)
    assert failed == ["a: container unix:///nowhere c of a may still exist"]
    assert "b: clean" in said and "a: clean" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    assert clean(lambda entries, attempt: (["c"], []), state).said == ["a: removed container c", "a: clean"]
    assert not stays.exists()


def test_what_is_no_journal_is_named_and_left_alone(state: Path, tmp_path: Path) -> None:
    (state / "folder" / JOURNAL_NAME).mkdir(parents=True)
    outside = left(tmp_path, "outside", folder(tmp_path / "precious"))
    (state / "link").mkdir()
    (state / "link" / JOURNAL_NAME).symlink_to(outside)
    (state / "linked").symlink_to(outside.parent)
    os.mkfifo((state / "pipe").resolve())
    (state / "piped").mkdir()
    os.mkfifo(state / "piped" / JOURNAL_NAME)
    left(state, "z", folder(tmp_path / "other"))
    said, failed = clean(remove_named, state)
    assert said[-1] == "z: clean"
    assert len(failed) == 4 and all(str(state) in line for line in failed)
    assert outside.exists() and (tmp_path / "precious" / "file").exists()


def test_an_empty_journal_is_removed(state: Path) -> None:
    (state / "r").mkdir()
    (state / "r" / JOURNAL_NAME).touch()
    assert clean(remove_named, state) == (["r: clean"], [])
    assert list(state.iterdir()) == []


def test_a_link_in_place_of_a_folder_or_on_the_way_to_it_is_not_followed(state: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "run").mkdir()
    (tmp_path / "link").symlink_to("precious")
    names = [tmp_path / "link", tmp_path / "link" / "run"]
    left(state, "r", *({"kind": "directory", "name": str(name)} for name in names))
    _, failed = clean(remove_named, state)
    assert len(failed) == 2 and all("left alone" in line for line in failed)
    assert (tmp_path / "precious" / "run").is_dir()


def test_after_a_reboot_processes_are_strangers_and_folders_still_go(state: Path, tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        same = {"kind": "group", "name": str(stranger.pid), "start": start_time(stranger.pid)}
        before = {"kind": "holder", "name": str(os.getpid()), "start": start_time(os.getpid()), "boot": "another"}
        left(state, "r", same, folder(tmp_path / "ours"), holder={**before, "host": os.uname().nodename})
        assert clean(remove_named, state).said == [f"r: removed directory {tmp_path / 'ours'}", "r: clean"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_another_machine_left_in_a_shared_home_is_its_own(state: Path, tmp_path: Path) -> None:
    other = {**DEAD, "boot": "another", "host": "elsewhere"}
    path = left(state, "r", folder(tmp_path / "theirs"), holder=other)
    assert clean(remove_named, state).said == ["r: belongs to the machine elsewhere, skipped; clean it there"]
    assert path.exists() and (tmp_path / "theirs").is_dir()


def test_a_journal_names_its_boot_and_appears_with_its_holder(state: Path) -> None:
    journal = Journal(state / "r" / JOURNAL_NAME)
    (holder,), wrong = parse(journal.path.read_bytes())
    assert (holder.kind, int(holder.name), holder.boot, wrong) == ("holder", os.getpid(), boot_id(), [])
    assert [path.name for path in journal.path.parent.iterdir()] == [JOURNAL_NAME]
    journal.close()
    assert list(state.iterdir()) == []


def test_attempts_at_one_run_have_a_journal_each(state: Path, tmp_path: Path) -> None:
    """A killed run, then the same experiment elsewhere: the first one's unfinished folder is still known."""
    left(state, "run-1", {**folder(tmp_path / ".a.partial"), "kind": "result"})
    second = Journal(state / "run-2" / JOURNAL_NAME)
    second.close()
    assert clean(remove_named, state, "run").said == [
        f"run-1: removed result {tmp_path / '.a.partial'}",
        "run-1: clean",
    ]


def test_a_folder_whose_journal_was_never_finished_goes_once_it_is_old(state: Path) -> None:
    old, young = state / "old", state / "young"
    for one in (old, young):
        one.mkdir()
        (one / f"{NEW}x").touch()
    os.utime(old, (0, 0))
    assert clean(remove_named, state) == ([], [])
    assert [path.name for path in state.iterdir()] == ["young"]


START = """
import sys
from pathlib import Path
from typing import Any
from testbed.system.journal import JOURNAL_NAME, Journal, read_entries
state, name = Path(sys.argv[1]), sys.argv[2]
made = 0
print("up", flush=True)
for number in range(int(sys.argv[3])):
    journal = Journal(state / f"{name}-{number}" / JOURNAL_NAME)
    journal.directory(state.parent / "x" / f"{name}-{number}")
    entries = read_entries(journal.path)
    assert [one.kind for one in entries] == ["holder", "directory"], entries
    journal.close()
"""


@pytest.fixture
def starters(state: Path) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-c", START, str(state)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, name, "150"], **pipes) for name in "ab"]
    yield processes
    for one in processes:
        one.kill()
        one.communicate()


@pytest.mark.slow
def test_runs_that_start_and_end_beside_cleans_lose_nothing_and_nobody_stumbles(
    state: Path, starters: list[subprocess.Popen[str]]
) -> None:
    for one in starters:
        assert one.stdout is not None and one.stdout.readline() == "up\n"
    failures: list[object] = []

    def cleaner() -> None:
        while any(one.poll() is None for one in starters):
            try:
                said, failed = clean(remove_named, state)
                failures.extend(failed)
                failures.extend(line for line in said if "still running" not in line and "another clean" not in line)
            except Exception as error:
                failures.append(repr(error))
            time.sleep(0)

    threads = [threading.Thread(target=cleaner) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for one in starters:
        assert one.wait() == 0, one.stderr.read() if one.stderr else ""
    assert list(state.iterdir()) == []
