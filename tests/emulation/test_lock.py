"""One emulation at a time, and nobody without a right to it can take or hold the lock, whatever one does."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.emulation import lock
from testbed.emulation.lock import FILE, lock_holder, machine_lock
from testbed.errors import MachineCannot

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes other users")
HOLDS = (
    "import sys, time; from pathlib import Path; from testbed.emulation.lock import machine_lock\n"
    "with machine_lock(Path(sys.argv[1]), Path(sys.argv[2])): print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A machine's folder and one of a user: a run may be going on under the real ones."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(0o755)
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    return tmp_path / "machine", own


def as_user(user: int) -> None:
    """This process, from now on: with the interpreter and the tree open already, wherever they lie."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def in_child(user: int, act, groups: tuple[int, ...] = ()) -> str:
    """What `act` says as another user: "ok", or the error."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups(list(groups))
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            act()
            said = "ok"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return said


def hold(places: tuple[Path, Path]) -> None:
    with machine_lock(*places):
        pass


def test_a_second_holder_is_refused_with_the_first_ones_process(places):
    with machine_lock(*places), pytest.raises(MachineCannot, match=f"process {os.getpid()}"), machine_lock(*places):
        pass
    assert lock_holder(*places) is None
    with machine_lock(*places):
        assert lock_holder(*places) == os.getpid()


def test_a_killed_holder_holds_nothing(places):
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, *map(str, places)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    with pytest.raises(MachineCannot, match=f"process {holder.pid}"), machine_lock(*places):
        pass
    holder.kill()
    holder.wait()
    with machine_lock(*places):
        pass


@root_only
def test_processes_in_different_network_namespaces_share_the_lock(places):
    argv = ["unshare", "--net", sys.executable, "-c", HOLDS, *map(str, places)]
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    with pytest.raises(MachineCannot, match=f"process {holder.pid}"), machine_lock(*places):
        pass
    holder.kill()
    holder.wait()


@root_only
def test_a_stranger_cannot_take_the_machines_lock_in_any_way(places):
    machine, _ = places
    hold(places)  # the folder and the file are there
    ways = {
        "flock of the file": lambda: fcntl.flock(os.open(machine / FILE, os.O_RDONLY), fcntl.LOCK_EX),
        "shared flock": lambda: fcntl.flock(os.open(machine / FILE, os.O_RDONLY), fcntl.LOCK_SH),
        "another file in its place": lambda: (machine / FILE).unlink(),
        "a file beside it": lambda: (machine / "x").touch(),
        "another folder": lambda: machine.rename(machine.with_name("taken")),
        "its mode": lambda: (machine / FILE).chmod(0o666),
    }
    for what, way in ways.items():
        assert "PermissionError" in in_child(NOBODY, way), what
    hold(places)


@root_only
def test_a_run_of_root_refuses_an_ordinary_user_who_learns_its_process(places):
    machine, own = places
    os.chown(own, NOBODY, NOBODY)
    with machine_lock(*places):
        said = in_child(NOBODY, lambda: hold((machine, own)))
        assert said == (
            f"Busy: another emulation (process {os.getpid()}) is running on this machine; wait for it or stop it"
        )
    assert in_child(NOBODY, lambda: hold((machine, own))) == "ok"


@root_only
def test_an_ordinary_users_run_refuses_that_users_next_one_and_not_roots(places):
    machine, own = places
    os.chown(own, NOBODY, NOBODY)
    hold(places)

    def twice() -> None:
        with machine_lock(machine, own):
            hold((machine, own))

    assert "another emulation" in in_child(NOBODY, twice)
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        as_user(NOBODY)
        with machine_lock(machine, own):
            os.write(writer, b"up")
            os.close(writer)
            signal_wait()
    os.close(writer)
    try:
        assert os.read(reader, 2) == b"up"
        hold(places)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reader)


def signal_wait() -> None:
    import signal

    signal.pause()


@root_only
def test_members_of_the_group_share_the_machines_lock(places, monkeypatch):
    machine, own = places
    monkeypatch.setattr("grp.getgrnam", lambda _: type("Group", (), {"gr_gid": 4321}))
    os.chown(own, NOBODY, NOBODY)
    hold(places)
    found = (machine / FILE).stat()
    assert (found.st_gid, found.st_mode & 0o777) == (4321, 0o660)

    def member_holds() -> None:
        with machine_lock(machine, own):
            assert lock_holder(machine, own) == os.getpid()
            assert lock._holder(machine / FILE) == os.getpid()

    assert in_child(NOBODY, member_holds, groups=(4321,)) == "ok"
    assert "AssertionError" in in_child(NOBODY, member_holds)  # not a member: the machine's is not taken


@root_only
def test_a_folder_that_others_may_write_to_is_refused(places):
    machine, _ = places
    machine.mkdir()
    machine.chmod(0o777)
    with pytest.raises(MachineCannot, match="not a private folder"), machine_lock(*places):
        pass
    machine.rmdir()
    machine.symlink_to("/tmp")
    with pytest.raises(MachineCannot, match="not a private folder"), machine_lock(*places):
        pass


@root_only
def test_a_link_in_place_of_the_file_is_not_followed(places):
    machine, _ = places
    machine.mkdir()
    (machine / FILE).symlink_to(machine / "elsewhere")
    with pytest.raises(OSError), machine_lock(*places):
        pass
    assert not (machine / "elsewhere").exists()


@root_only
def test_what_other_users_run_is_named_and_refuses_nothing(places):
    argv = [*AS_NOBODY, "bash", "-c", "exec -a sh sh -c 'read x' testbed.nodes.piped"]
    other = subprocess.Popen(argv, stdin=subprocess.PIPE)
    try:
        for _ in range(100):
            if lock.elsewhere():
                break
        assert f"user {NOBODY} (process {other.pid})" in lock.elsewhere()
        hold(places)
    finally:
        other.kill()
        other.communicate()


def test_a_file_that_was_removed_before_it_was_locked_is_made_again(places, monkeypatch):
    machine, own = places
    flock, removed = fcntl.flock, []

    def slow(descriptor, operation):
        if not removed:
            removed.append((machine if os.geteuid() == 0 else own) / FILE)
            removed[0].unlink()
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", slow)
    with machine_lock(machine, own):
        assert lock_holder(machine, own) == os.getpid()
