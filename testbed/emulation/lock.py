"""One emulation at a time on a machine: two would steal each other's cores and both would be wrong.

The machine's lock is flock(2) on a file that root made in its own folder: users who may not open it can neither take
nor hold it, but see in /proc/locks that it is held. Members of the group `testbed` may open it too. Every other user
has a separate lock, honours the machine's, and cannot stop anybody: such runs are only named (`elsewhere`). A lock
goes with the process, whatever becomes of it. One machine is one /run: namespaces of networks and users share it; a
container with a separate /run counts as a separate machine here.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.system.userns import GROUP, user_outside

MACHINE = Path("/run/wan-testbed-machine")  # not the folder of journals: others may look in here
FILE = "emulation.lock"
LOCKS = Path("/proc/locks")
PROGRAMS = (b"testbed.nodes.piped", b"testbed.nodes.contained")  # what an emulation, and nothing else, runs


class Busy(MachineCannot):
    """Another emulation has the lock: later it will not."""


@contextlib.contextmanager
def machine_lock(machine: Path = MACHINE, own: Path | None = None) -> Iterator[None]:
    """Holds the emulation lock. Raises MachineCannot, naming the holder, when another run has it."""
    with contextlib.ExitStack() as held:
        if user_outside() != 0:
            folder = own or own_place()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_foreign(folder)
            _take(folder / FILE, os.O_CREAT, held)
        _take_machines(machine, held)
        yield


def lock_holder(machine: Path = MACHINE, own: Path | None = None) -> int | None:
    """Process that keeps this user from emulating now, as the kernel knows it; None when there is none."""
    return _holder(machine / FILE) or _holder((own or own_place()) / FILE)


def own_place() -> Path:
    """Of this user's lock: on this machine, which a home folder need not be."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime) / "wan-testbed"
    return Path(tempfile.gettempdir()) / f"wan-testbed-{user_outside()}"


def elsewhere() -> list[str]:
    """Emulations of other users that hold no lock of ours, as far as the list of processes tells.

    Anybody can give a process such a name, so nothing is refused for it: it is said, and kept in the manifest.
    """
    me = user_outside()
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            user = path.stat().st_uid
            # as seen from a user namespace: those outside it have no number there
            if user not in (me, os.geteuid()) and any(program in words for program in PROGRAMS):
                found.setdefault(user, int(path.name))
    return [f"user {user} (process {pid})" for user, pid in sorted(found.items())]


def _take_machines(machine: Path, held: contextlib.ExitStack) -> None:
    if user_outside() == 0:
        machine.mkdir(mode=0o755, exist_ok=True)
        _refuse_foreign(machine)
        descriptor = _take(machine / FILE, os.O_CREAT, held)
        with contextlib.suppress(KeyError):  # there is no such group: the file is root's alone
            os.fchown(descriptor, -1, grp.getgrnam(GROUP).gr_gid)
            os.fchmod(descriptor, 0o660)
        return
    try:
        _take(machine / FILE, 0, held)
    except FileNotFoundError:  # root has not emulated since the machine started
        return
    except PermissionError:
        if (holder := _holder(machine / FILE)) is not None:
            raise _refusal(holder) from None


def _take(path: Path, create: int, held: contextlib.ExitStack) -> int:
    """Exclusively, until `held` is closed; again where the file was removed just before."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | create, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = _identity(os.fstat(descriptor)) == _identity(path.lstat())
        except BlockingIOError:
            os.close(descriptor)
            raise _refusal(_holder(path)) from None
        except FileNotFoundError:
            same = False
        if same:
            held.callback(os.close, descriptor)
            return descriptor
        os.close(descriptor)


def _refuse_foreign(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise MachineCannot(f"{folder}: not a private folder (writable by its owner only); remove it")


def _refusal(holder: int | None) -> Busy:
    return Busy(f"another emulation (process {holder or 'unknown'}) is running on this machine; wait for it or stop it")


def _holder(path: Path) -> int | None:
    """From /proc/locks (proc_locks(5)); also for a file that one may see but not open."""
    try:
        found = path.lstat()
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == place:
            return int(fields[4])
    return None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
