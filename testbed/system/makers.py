"""Which process made something: identified by more than its number, and by the lock it holds.

Rule kept: a thing is in the works as long as its file's lock (flock(2)) is taken, which ends with the process whatever
becomes of it. Where a file system has no locks, the process itself is looked for: by number, start time (proc(5),
/proc/PID/stat field 22), boot and machine, for a number alone may be another program's by now.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

import msgspec

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Maker(msgspec.Struct, frozen=True, omit_defaults=True):
    """One process on one machine since one boot. `start` is in clock ticks since boot."""

    pid: int
    start: int | None = None
    boot: str = ""
    host: str = ""

    @classmethod
    def this_process(cls) -> Maker:
        return cls(os.getpid(), start_time(os.getpid()), boot_id(), socket.gethostname())

    def lives(self) -> bool:
        """Whether it still runs; False for processes of another machine or of a time before the last boot."""
        here = self.host in ("", socket.gethostname()) and self.boot in ("", boot_id())
        return here and self.start is not None and start_time(self.pid) == self.start


def start_time(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None if there is none (or only its zombie)."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = line.rpartition(")")[2].split()  # the command name may hold spaces and brackets; fields[0] is field 3
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Of the machine as it runs now; empty where the kernel does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def lock(file: IO[bytes], shared: bool = False) -> bool:
    """Takes the file's lock until it is closed; False where another process has it. No locks there: True.

    `shared`: beside others who only look, and not beside a holder.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
