"""Clean-up removes what a dead run made, all of it, and nothing else (invariant 5)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.errors import BadInput
from testbed.system import journal as journal_module
from testbed.system.cleaning import clean
from testbed.system.journal import Entry, Journal, read_entries, state_dir
from testbed.system.makers import start_time


def dead_run(state: Path, run_id: str, entries: list[dict[str, object]]) -> Path:
    """A journal as a crashed run leaves it: its holder does not exist."""
    path = state / run_id / "journal.jsonl"
    path.parent.mkdir(parents=True)
    holder = {"kind": "holder", "name": "1", "start": 10**15}
    path.write_text("".join(json.dumps(entry) + "\n" for entry in [holder, *entries]))
    return path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_root_has_one_place_for_state_whatever_session_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that a reboot leaves alone: results and containers survive one."""
    monkeypatch.setattr(journal_module, "user_outside", lambda: 0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    by_ssh = state_dir()
    monkeypatch.delenv("XDG_STATE_HOME")
    assert by_ssh == state_dir() == Path("/var/lib/wan-testbed")


def test_other_users_have_a_place_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "user_outside", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_dir() == tmp_path / "wan-testbed"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local" / "state" / "wan-testbed"
    for nobodys in ("/proc", "/no-such-home", "relative"):
        monkeypatch.setenv("HOME", nobodys if os.geteuid() else nobodys.replace("/proc", "/no-such-either"))
        first = state_dir()
        assert first.name == "wan-testbed-1000"


def test_entries_are_on_disk_before_anything_is_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run" / "journal.jsonl")
    journal.directory(tmp_path / "made-later")
    assert read_entries(journal.path)[-1] == Entry("directory", str(tmp_path / "made-later"))


def test_a_process_of_a_dead_run_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    entry: dict[str, object] = {"kind": "group", "name": str(sleeper.pid), "start": start_time(sleeper.pid)}
    dead_run(tmp_path, "r", [entry])
    assert f"r: removed group {sleeper.pid}" in clean(remove_named, tmp_path).said
    assert sleeper.wait(5) == -signal.SIGTERM


def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    dead_run(tmp_path, "r", [{"kind": "group", "name": str(sleeper.pid), "start": start_time(sleeper.pid) - 1}])
    assert clean(remove_named, tmp_path) == (["r: clean"], [])
    assert sleeper.poll() is None


def test_a_run_in_progress_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "live" / "journal.jsonl")
    made = tmp_path / "live" / "made"
    journal.directory(made)
    made.mkdir()
    assert clean(remove_named, tmp_path) == (["live: still running, skipped"], [])
    assert made.is_dir()


def test_an_orphan_that_was_never_written_down_is_known_by_its_mark(tmp_path: Path) -> None:
    path = dead_run(tmp_path, "r", [])
    environment = {**os.environ, "WAN_TESTBED_JOURNAL": str(path)}
    shell = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null & echo $!"], env=environment, stdout=subprocess.PIPE, text=True
    )
    orphan = int(shell.stdout)
    assert start_time(orphan) is not None
    assert clean(remove_named, tmp_path, "r").said[0] == f"r: removed processes {orphan}"
    assert start_time(orphan) is None


def test_the_mark_of_another_run_protects(tmp_path: Path) -> None:
    dead_run(tmp_path, "r", [])
    other = {**os.environ, "WAN_TESTBED_JOURNAL": str(tmp_path / "r2" / "journal.jsonl")}
    process = subprocess.Popen(["sleep", "60"], env=other)
    clean(remove_named, tmp_path)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_directories_go_and_their_neighbours_stay(tmp_path: Path) -> None:
    for name in ("ours", "theirs", ".demo-1.partial", ".demo-2.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    ours = [("directory", "ours"), ("result", ".demo-1.partial")]
    dead_run(tmp_path / "state", "r", [{"kind": kind, "name": str(tmp_path / name)} for kind, name in ours])
    clean(remove_named, tmp_path / "state")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demo-2.partial", "state", "theirs"]
    assert list((tmp_path / "state").iterdir()) == []


def test_an_orderly_end_keeps_the_results_and_their_logs(tmp_path: Path) -> None:
    """Also that of a run that failed: its message names the log."""
    journal = Journal(tmp_path / "state" / "r" / "journal.jsonl")
    for announce, name in ((journal.result, "result"), (journal.directory, "scratch")):
        announce(tmp_path / name)
        (tmp_path / name).mkdir()
    assert journal.undo(remove_named) == [f"directory {tmp_path / 'scratch'}"]
    assert (tmp_path / "result").is_dir()


@pytest.mark.parametrize("spoil", [lambda state: state.chmod(0o777), lambda state: os.chown(state, 12345, 12345)])
def test_a_folder_of_journals_that_others_can_write_to_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """The temporary directory is everybody's: a journal put there by another process would have our files removed."""
    if os.geteuid() != 0 and "chown" in spoil.__code__.co_names:
        pytest.skip("only root can give a folder away")
    (tmp_path / "precious").mkdir()
    state = tmp_path / "state"
    dead_run(state, "r", [{"kind": "directory", "name": str(tmp_path / "precious")}])
    spoil(state)
    with pytest.raises(BadInput, match=f"{state}: not a private folder"):
        clean(remove_named, state)
    assert (tmp_path / "precious").is_dir()


def test_a_link_in_place_of_the_folder_of_journals_is_refused(tmp_path: Path) -> None:
    dead_run(tmp_path / "real", "r", [])
    (tmp_path / "state").symlink_to("real")
    with pytest.raises(BadInput, match="not a private folder"):
        clean(remove_named, tmp_path / "state")


def test_a_line_cut_short_by_the_crash_does_not_stop_the_cleaning(tmp_path: Path) -> None:
    path = dead_run(tmp_path, "r", [{"kind": "directory", "name": str(tmp_path / "f")}])
    (tmp_path / "f").mkdir()
    path.write_text(path.read_text() + '{"kind": "proc')
    clean(remove_named, tmp_path)
    assert not (tmp_path / "f").exists()


def test_cleaning_twice_and_cleaning_nothing_are_no_errors(tmp_path: Path) -> None:
    dead_run(tmp_path, "r", [{"kind": "directory", "name": str(tmp_path / "never-made")}])
    assert clean(remove_named, tmp_path) == (["r: clean"], [])
    assert clean(remove_named, tmp_path) == ([], [])


def test_an_unknown_run_is_bad_input(tmp_path: Path) -> None:
    dead_run(tmp_path, "r1", [])
    with pytest.raises(BadInput, match=r"no run 'r2'.*runs there: r1"):
        clean(remove_named, tmp_path, "r2")


def test_a_killed_holder_makes_its_run_cleanable(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from testbed.system.journal import Journal\n"
        "j = Journal(Path(sys.argv[1])); print('up', flush=True); time.sleep(60)"
    )
    path = tmp_path / "r" / "journal.jsonl"
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    assert clean(remove_named, tmp_path) == (["r: still running, skipped"], [])
    holder.kill()
    holder.wait()
    assert clean(remove_named, tmp_path) == (["r: clean"], [])
