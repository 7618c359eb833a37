"""Removes what a journal names: each entry is tried, whatever became of the others.

Rule kept: nothing is touched but what the testbed made (invariant 5). A process is named by pid *and* start time, so a
pid the kernel has given to another process is left alone; what was not written down yet, or outlived its parent, is
known by the journal's mark in its environment; a container by name and label; a folder by its path, if no link leads
there and it is ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testbed.system.makers import start_time

if TYPE_CHECKING:
    from testbed.system.journal import Entry

# Entries of kind "container" and their attempt in; the names of those removed, and what kept others from it, out. It is
# `containers.removal.remove_named`, and given by who calls, for nothing here knows of engines of containers.
RemoveContainers = Callable[[Sequence[str], str], tuple[Sequence[str], Sequence[Exception]]]

MARK = "WAN_TESTBED_JOURNAL"
LEAST_PARTS = 3  # of a path: neither / nor a folder in it is ever a run's own


class Undone(NamedTuple):
    """What was removed, a line each, and what kept other things from it."""

    removed: list[str]
    failed: list[Exception]


def said(error: Exception) -> str:
    return str(error) or type(error).__name__


def undo(
    journal: Path,
    entries: Sequence[Entry],
    remove_containers: RemoveContainers,
    crashed: bool = False,
    rebooted: bool = False,
) -> Undone:
    """Newest first. What is already gone is not an error. `crashed`: results in the making go too.

    `rebooted`: no process of it can be there any more, and its pids are another program's.
    """
    undone = Undone([], [])
    if not rebooted and (marked := _marked(journal)):
        _kill_all(lambda: _marked(journal))
        undone.removed.append(f"processes {', '.join(map(str, marked))}")
    named = [one.name for one in reversed(entries) if one.kind == "container"]
    _remove_containers(named, journal, remove_containers, undone)
    for entry in reversed(entries):
        if (entry.kind == "group" and rebooted) or (entry.kind == "result" and not crashed):
            continue
        try:
            if _undo(entry, journal):
                undone.removed.append(f"{entry.kind} {entry.name}")
        except Exception as error:  # whatever it is, the others are not to stay for it
            undone.failed.append(error)
    return undone


def _remove_containers(
    named: Sequence[str], journal: Path, remove_containers: RemoveContainers, undone: Undone
) -> None:
    """First: what is in them may write into folders of the run."""
    if not named:
        return
    try:
        removed, failed = remove_containers(named, journal.parent.name)
    except Exception as error:
        undone.failed.append(error)
        return
    undone.removed.extend(f"container {name}" for name in removed)
    undone.failed.extend(failed)


def _undo(entry: Entry, journal: Path) -> bool:
    """Whether there was something to remove. Raises what keeps it from being removed."""
    if entry.kind == "group" and _is_same_process(entry):
        _kill_all(lambda: _living(entry))
        return True
    if entry.kind in ("directory", "result"):
        return _remove_folder(Path(entry.name))
    return False


def _remove_folder(path: Path) -> bool:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    led_away = os.path.realpath(path.parent) != str(path.parent)
    if led_away or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or len(path.parts) < LEAST_PARTS:
        raise OSError(f"{path} is not a folder of this run's (any more), left alone; check it and remove it by hand")
    for _ in range(2):  # a process that has just been killed may have made one more file
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        shutil.rmtree(path)  # says why
    return True


def _is_same_process(entry: Entry) -> bool:
    return entry.start is not None and start_time(int(entry.name)) == entry.start


def _living(entry: Entry) -> list[int]:
    """The process of an entry and everything in its group, as long as its leader is the one written down."""
    return _members_of({int(entry.name)}) if _is_same_process(entry) else []


def _marked(journal: Path) -> list[int]:
    """Processes that carry this journal's mark: also those not written down yet, and orphans of a dead leader."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if pid != os.getpid() and _has_mark(pid, journal)]


def _has_mark(pid: int, journal: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # ended meanwhile, or not ours to look into and so not ours
    return f"{MARK}={journal}".encode() in environment.split(b"\0") and start_time(pid) is not None


def _members_of(groups: Collection[int]) -> list[int]:
    """Of all at once: a look through /proc for each of hundreds of groups takes longer than all else at a run's end."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) in groups and fields[0] not in "ZX":  # proc(5): field 5 is the process group
            members.append(int(path.parent.name))
    return members


def stop_groups(groups: Collection[int], journal: Path) -> None:
    """Ends what carries this journal's mark in these process groups: TERM, a moment for all to obey, then KILL.

    By the mark, because the number of a group whose leader has been waited for may belong to another process by now.
    """
    if groups:
        _kill_all(lambda: [pid for pid in _members_of(groups) if _has_mark(pid, journal)])


def _kill_all(living: Callable[[], list[int]], patience_s: float = 1.0) -> None:
    _signal(living(), signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while living() and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal(living(), signal.SIGKILL)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # ended by itself meanwhile
            os.kill(pid, number)
