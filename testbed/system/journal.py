"""What an attempt at a run makes, written down before it is made, so that all of it can be removed, and only it.

Rules kept: nothing the testbed made survives, nothing it did not make is touched (invariant 5). A journal appears with
its first line, which names its holder, and is locked (flock(2)) as long as its holder lives: so it is never met half
made, and what is unlocked belongs to a dead one. It lies where a reboot leaves it, for results and containers survive
one too; the boot it names says whether its processes can still be there.

Interfaces and queues live in the namespaces of journalled processes, TUN devices with the process that opened them, and
go with them: nothing is ever made in the machine's own network namespace. What the journal names is trusted, so a
folder of journals that another process could have written is refused.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal

import msgspec

from testbed.errors import BadInput, MachineCannot, NoEngine
from testbed.files.whole import rename_new, sync, writing
from testbed.system.makers import Maker, lock, start_time
from testbed.system.undoing import MARK, RemoveContainers, said, undo
from testbed.system.userns import user_outside

Kind = Literal["holder", "group", "container", "directory", "result"]

JOURNAL_NAME = "journal.jsonl"
NEW = f".{JOURNAL_NAME}."  # and a random word: one that is being made


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing made, or about to be made. `start` is in clock ticks since boot and only meant for processes."""

    kind: Kind
    name: str
    start: int | None = None
    boot: str = ""  # of the holder
    host: str = ""

    def __post_init__(self) -> None:
        if self.kind in ("holder", "group"):
            int(self.name)  # a process, or the line is refused

    def maker(self) -> Maker:
        """The process of a holder or a group."""
        return Maker(int(self.name), self.start, self.boot, self.host)


def state_dir() -> Path:
    """Where runs keep their journals: one place a user, whatever session it comes from, that a reboot leaves alone.

    Root's is /var/lib/wan-testbed; others have $XDG_STATE_HOME or ~/.local/state, or else, without a home of their
    own, the temporary directory; the same inside their user namespaces.
    """
    user = user_outside()
    if user == 0:
        return Path("/var/lib/wan-testbed")
    chosen, home = os.environ.get("XDG_STATE_HOME"), os.environ.get("HOME")
    for place, below in ((chosen, ()), (home, (".local", "state"))):
        if place and Path(place).is_absolute() and _is_ours(Path(place)):
            return Path(place, *below, "wan-testbed")
    return Path(tempfile.gettempdir()) / f"wan-testbed-{user}"


def _is_ours(place: Path) -> bool:
    try:
        return place.stat().st_uid == os.geteuid() and os.access(place, os.W_OK | os.X_OK)
    except OSError:
        return False


def refuse_foreign(state: Path) -> None:
    """BadInput for a folder of journals that others can write to: what they name would be removed in our name."""
    found = state.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BadInput(f"{state}: not a private folder (writable by this user only); remove it, or set XDG_STATE_HOME")


class Journal:
    """Append-only JSON lines; every line is on disk before the method returns."""

    def __init__(self, path: Path, holder: bool = True) -> None:
        """`holder`: this process runs the run; False for a helper of it, whose life does not keep the run alive."""
        self.path = path.absolute()
        self._file = _made(self.path) if holder else _joined(self.path)

    @classmethod
    def for_run(cls, attempt: str) -> Journal:
        """Of one attempt: two at the same run have nothing in common. Raises BadInput and MachineCannot."""
        state = state_dir()
        with writing(state):
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
        self._write(Entry("directory", _real(path)))

    def result(self, path: Path | str) -> None:
        """The directory of results in the making, before it is made.

        An orderly end, also that of a run that failed, keeps it for its logs; after a crash `clean` removes it.
        """
        self._write(Entry("result", _real(path)))

    def entries(self) -> list[Entry]:
        return read_entries(self.path)

    def undo(self, remove_containers: RemoveContainers) -> list[str]:
        """Removes everything written so far, the journal and the results excepted. All of it is tried.

        Raises MachineCannot for what could not be removed (NoEngine, where that is all that is in the way): the journal
        then stays, for another try.
        """
        undone = undo(self.path, self.entries(), remove_containers)
        if undone.failed:
            kind = NoEngine if all(isinstance(error, NoEngine) for error in undone.failed) else MachineCannot
            raise kind(f"{'; '.join(map(said, undone.failed))}; run testbed clean --run {self.attempt}")
        return undone.removed

    def close(self) -> None:
        """Ends an orderly run: the journal itself goes, and with it the run's folder if nothing else is in it."""
        remove_journal(self.path)
        self._file.close()  # last, for its lock says that somebody is at it

    def _write(self, entry: Entry) -> None:
        with writing(self.path):
            self._file.write(msgspec.json.encode(entry) + b"\n")
            os.fsync(self._file.fileno())


def read_entries(path: Path) -> list[Entry]:
    """All lines that can be understood; none where there is no journal (any more)."""
    try:
        return parse(path.read_bytes())[0]
    except FileNotFoundError:
        return []


def parse(content: bytes) -> tuple[list[Entry], list[int]]:
    """Entries, and the numbers of lines that are none. A last line cut short is left out: nothing was made after it."""
    entries, wrong = [], []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except (msgspec.MsgspecError, ValueError):
            wrong.append(number)
    return entries, wrong


def is_live(entries: Iterable[Entry]) -> bool:
    """Whether a process that holds this journal still runs."""
    return any(entry.kind == "holder" and entry.maker().lives() for entry in entries)


def remove_journal(path: Path) -> None:
    """By who has its lock."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody put a file of theirs there: it is not ours to remove
        path.parent.rmdir()


def _made(path: Path) -> IO[bytes]:
    """A new journal, locked and with its holder's line when it gets its name."""
    here = Maker.this_process()
    made = path.with_name(f"{NEW}{secrets.token_hex(4)}")
    with writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = made.open("x+b", buffering=0)
        try:
            lock(file)
            holder = Entry("holder", str(here.pid), here.start, here.boot, here.host)
            file.write(msgspec.json.encode(holder) + b"\n")
            os.fsync(file.fileno())
            rename_new(made, path)
            sync(path.parent)
        except BaseException:
            made.unlink(missing_ok=True)
            file.close()
            raise
    return file


def _joined(path: Path) -> IO[bytes]:
    """Another process's journal, to be written to as well."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), "wb", buffering=0)
    except FileNotFoundError:
        raise MachineCannot(f"{path}: the journal of this run is gone; was it deleted?") from None


def _real(path: Path | str) -> str:
    """Without links in what leads there, so that one put there later is noticed."""
    there = Path(path).absolute()
    return str(Path(os.path.realpath(there.parent), there.name))
