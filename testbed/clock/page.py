"""The memory that a run's processes and containers share for their clock: one small file, mapped by each of them.

Two locks of the kernel keep its rules, and both end with their holder however that ends, in any PID namespace:
flock(2) on the file is the exclusion, and a record lock (fcntl(2)) on a slot's own bytes says that its holder lives.
The file lies in /dev/shm where it can, for a page of a disk's file may be written back just when it is to be changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import time
from pathlib import Path
from typing import Final

from testbed.clock.api import WALL, Clock
from testbed.clock.held import CELLS, SLOTS, HeldClock, prepare
from testbed.errors import MachineCannot, RunInvalid

CELL_BYTES: Final = 8
NAME_BYTES: Final = 64
NAMES_AT: Final = CELLS * CELL_BYTES
PAGE_BYTES: Final = NAMES_AT + SLOTS * NAME_BYTES
MEMORY: Final = Path("/dev/shm")


def make(path: Path, dilation: float = 1.0, mode: int = 0o600) -> None:
    """A fresh page. `mode` 0o666 lets a container's user write to it; the folder must keep others out then."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MachineCannot(
            f"clock: {path} cannot be made ({error.strerror}); fix: mount -t tmpfs none {MEMORY}"
        ) from error
    try:
        os.fchmod(descriptor, mode)
        os.posix_fallocate(descriptor, 0, PAGE_BYTES)  # else a full /dev/shm would end a process with SIGBUS later
        with mmap.mmap(descriptor, PAGE_BYTES) as whole, memoryview(whole) as view, view[:NAMES_AT].cast("q") as cells:
            prepare(cells, time.monotonic_ns(), dilation)
    except OSError as error:
        raise MachineCannot(f"clock: no room for {PAGE_BYTES} bytes at {path} ({error.strerror})") from error
    finally:
        os.close(descriptor)


def reading(path: str | None) -> Clock:
    """The clock of a process that sets no barrier; without a path the machine's."""
    return WALL if path is None else Page(path).reader()


def taking_part(path: str | None, name: str) -> Clock:
    """The clock of a process that does; see `Page.clock`."""
    return WALL if path is None else Page(path).clock(name)


class Page:
    """A page as one process has it open, for as long as the process lives. One a process: see `_Exclusion`, `lives`."""

    def __init__(self, path: Path | str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._whole = mmap.mmap(self._descriptor, PAGE_BYTES)
        except (OSError, ValueError) as error:
            raise RunInvalid(
                f"clock: {path} cannot be opened ({error}); was it removed while the run goes on?"
            ) from error
        with memoryview(self._whole) as whole, whole[:NAMES_AT] as view:
            self._cells = view.cast("q")
        self._exclusion = _Exclusion(self._descriptor)

    def close(self) -> None:
        """For who makes clocks one after the other; the views of this one are of no use any more."""
        self._cells.release()
        self._whole.close()
        os.close(self._descriptor)

    def reader(self) -> HeldClock:
        """The clock, for a process that sets no barrier."""
        return HeldClock(self._cells, time.monotonic_ns, self._exclusion, self.lives)

    def clock(self, name: str) -> HeldClock:
        """The clock with its own slot; `name` says in reports who it was that held it."""
        slot = self._claim()
        first = NAMES_AT + slot * NAME_BYTES
        self._whole[first : first + NAME_BYTES] = name.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
        made = HeldClock(self._cells, time.monotonic_ns, self._exclusion, self.lives, slot)
        made.lift_barrier(slot)  # of a holder before, that died
        return made

    def name(self, slot: int) -> str:
        first = NAMES_AT + slot * NAME_BYTES
        return self._whole[first : first + NAME_BYTES].rstrip(b"\0").decode(errors="replace")

    def lives(self, slot: int) -> bool:
        """Whether the slot's holder does. Not for the slot of this process: its lock would be lost."""
        with contextlib.suppress(OSError):
            _lock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, slot)
            _lock(self._descriptor, fcntl.LOCK_UN, slot)
            return False
        return True

    def free(self, within_s: float) -> bool:
        """False if the exclusion stays taken for so long, as it does by a process that was stopped while it had it."""
        deadline = time.monotonic() + within_s
        while not self._exclusion.try_take():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        self._exclusion.give_back()
        return True

    def _claim(self) -> int:
        for slot in range(SLOTS):
            with contextlib.suppress(OSError):
                _lock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, slot)
                return slot
        raise MachineCannot(f"clock: more than {SLOTS} processes; fix: fewer nodes")


class _Exclusion:
    """flock(2), which excludes other openings of the file, and between the threads of this process a lock of theirs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._threads = threading.Lock()

    def take(self) -> None:
        self._threads.acquire()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise

    def try_take(self) -> bool:
        if not self._threads.acquire(blocking=False):
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._threads.release()
            return False
        except BaseException:
            self._threads.release()
            raise
        return True

    def give_back(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()


def _lock(descriptor: int, operation: int, slot: int) -> None:
    fcntl.lockf(descriptor, operation, NAME_BYTES, NAMES_AT + slot * NAME_BYTES)
