"""What a run makes, written down before it is made, so that a crashed run can be removed: all of it and only it.

Rule kept: nothing the testbed made survives, nothing it did not make is touched (invariant 5). A process is named by
pid *and* start time (proc(5), /proc/PID/stat field 22), so a pid the kernel has given to somebody else is left alone;
what was not written down yet, or outlived its parent, is known by the journal's mark in its environment; files are
named by absolute path. A journal whose holder still lives belongs to a run in progress and is not undone.

Interfaces and queues live in the namespaces of journalled processes, TUN devices with the process that opened them, and
go with them: nothing is ever made in the machine's own network namespace. What the journal names is trusted, so a
folder of journals that somebody else could have written is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from testbed.errors import BadInput
from testbed.network.userns import user_outside

Kind = Literal["holder", "group", "container", "directory", "result"]

JOURNAL_NAME = "journal.jsonl"
MARK = "WAN_TESTBED_JOURNAL"


@dataclass(frozen=True)
class Entry:
    """One thing made, or about to be made. `start` is in clock ticks since boot and only meant for processes."""

    kind: Kind
    name: str
    start: int | None = None


def state_dir() -> Path:
    """Where runs keep their journals: one place for root, whatever session it comes from.

    Others have one each, in $XDG_RUNTIME_DIR, else in the temporary directory; the same inside their user namespaces.
    """
    user = user_outside()
    if user == 0:
        return Path("/run/wan-testbed")  # $XDG_RUNTIME_DIR would part root by ssh from root by cron
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime) / "wan-testbed"
    return Path(tempfile.gettempdir()) / f"wan-testbed-{user}"


def refuse_foreign(state: Path) -> None:
    """BadInput for a folder of journals that others can write to: what they name would be removed in our name."""
    found = state.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BadInput(f"{state}: not a folder that only this user can write to; remove it, or set XDG_RUNTIME_DIR")


def start_time(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None if there is none (or only its zombie)."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = line.rpartition(")")[2].split()  # the command name may hold spaces and brackets; fields[0] is field 3
    return None if fields[0] in "ZX" else int(fields[19])


class Journal:
    """Append-only JSON lines; every line is on disk before the method returns."""

    def __init__(self, path: Path, holder: bool = True) -> None:
        """`holder`: this process runs the run; False for a helper of it, whose life does not keep the run alive."""
        self.path = path.absolute()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        if holder:
            self._write(Entry("holder", str(os.getpid()), start_time(os.getpid())))

    @classmethod
    def for_run(cls, attempt: str) -> Journal:
        state = state_dir()
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_foreign(state)
        return cls(state / attempt / JOURNAL_NAME)

    @property
    def attempt(self) -> str:
        """The name of the attempt, which its containers are labelled with."""
        return self.path.parent.name

    @property
    def environment(self) -> dict[str, str]:
        """To be set in the environment of every process started for the run, so that `clean` knows it from others."""
        return {MARK: str(self.path)}

    def group(self, pgid: int) -> None:
        """A process of ours that leads its own process group; undone together with its group.

        Written straight after its start, as its pid is not known before; until then its environment's mark names it.
        """
        self._write(Entry("group", str(pgid), start_time(pgid)))

    def container(self, address: str, name: str) -> None:
        """A container by name, and the engine that will have it, before it is made."""
        self._write(Entry("container", f"{address} {name}"))

    def directory(self, path: Path | str) -> None:
        """A directory of which everything inside is ours, before it is made."""
        self._write(Entry("directory", str(Path(path).absolute())))

    def result(self, path: Path | str) -> None:
        """The directory of results in the making, before it is made.

        An orderly end, also that of a run that failed, keeps it for its logs; after a crash `clean` removes it.
        """
        self._write(Entry("result", str(Path(path).absolute())))

    def entries(self) -> list[Entry]:
        return read_entries(self.path)

    def undo(self) -> list[str]:
        """Removes everything written so far, the journal and the results excepted."""
        return undo(self.path)

    def close(self) -> None:
        """Ends an orderly run: the journal itself goes, and with it the run's folder if nothing else is in it."""
        self._file.close()
        _remove_journal(self.path)

    def _write(self, entry: Entry) -> None:
        self._file.write(json.dumps({key: value for key, value in asdict(entry).items() if value is not None}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_entries(path: Path) -> list[Entry]:
    """All whole lines; a last line cut short by a crash is left out, for nothing was made after it."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return entries


def is_live(entries: Iterable[Entry]) -> bool:
    """Whether a process that holds this journal still runs."""
    return any(entry.kind == "holder" and _is_same_process(entry) for entry in entries)


def undo(path: Path, crashed: bool = False) -> list[str]:
    """Removes what a journal names, newest first, and says what it removed. What is already gone is no error."""
    removed: list[str] = []
    if marked := _marked(path):
        _kill_all(lambda: _marked(path))
        removed.append(f"processes {', '.join(map(str, marked))}")
    for entry in reversed(read_entries(path)):
        if entry.kind == "group" and _is_same_process(entry):
            _kill_all(lambda: _living(entry))  # noqa: B023  # used up before the next turn
            removed.append(f"group {entry.name}")
        elif entry.kind == "container":
            from testbed.containers.removal import remove_named  # the Docker SDK, only where there was a container

            if remove_named(entry.name, path.parent.name):
                removed.append(f"container {entry.name.rpartition(' ')[2]}")
        elif (entry.kind == "directory" or (entry.kind == "result" and crashed)) and Path(entry.name).is_dir():
            shutil.rmtree(entry.name, ignore_errors=True)
            removed.append(f"{entry.kind} {entry.name}")
    return removed


def clean(state: Path | None = None, run_id: str | None = None) -> list[str]:
    """Removes what crashed runs left, or one of them. Runs whose holder lives are named and left alone."""
    state = state or state_dir()
    if state.exists():
        refuse_foreign(state)
    if run_id is not None and not (state / run_id / JOURNAL_NAME).is_file():
        known = ", ".join(sorted(path.parent.name for path in state.glob(f"*/{JOURNAL_NAME}"))) or "none"
        raise BadInput(f"clean: no run {run_id!r} left anything in {state}; runs there: {known}")
    report: list[str] = []
    for path in sorted(state.glob(f"*/{JOURNAL_NAME}")):
        run = path.parent.name
        if run_id is not None and run != run_id:
            continue
        entries = read_entries(path)
        if is_live(entries):
            report.append(f"{run}: still running, left alone")
            continue
        report += [f"{run}: removed {line}" for line in undo(path, crashed=True)]
        _remove_journal(path)
        report.append(f"{run}: clean")
    return report


def _is_same_process(entry: Entry) -> bool:
    return entry.start is not None and start_time(int(entry.name)) == entry.start


def _living(entry: Entry) -> list[int]:
    """The process of an entry and everything in its group, as long as its leader is the one written down."""
    return _group_members(int(entry.name)) if _is_same_process(entry) else []


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


def _group_members(pgid: int) -> list[int]:
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] not in "ZX":  # proc(5): field 5 is the process group
            members.append(int(path.parent.name))
    return members


def stop_group(pgid: int, journal: Path) -> None:
    """Ends what carries this journal's mark in a process group: TERM, a moment to obey, then KILL.

    By the mark, because the number of a group whose leader has been waited for may belong to somebody else by now.
    """
    _kill_all(lambda: [pid for pid in _group_members(pgid) if _has_mark(pid, journal)])


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


def _remove_journal(path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody put a file of theirs there: it is not ours to remove
        path.parent.rmdir()
