"""One emulation at a time on a machine: two would steal each other's cores and both would be wrong.

The lock is the kernel's (flock), so it goes with the process, whatever becomes of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from testbed.errors import MachineCannot


@contextlib.contextmanager
def machine_lock(state_dir: Path) -> Iterator[None]:
    """Holds the machine's emulation lock. Raises MachineCannot, naming the holder, when another run has it."""
    path = state_dir / "emulation.lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise MachineCannot(
            f"{path}: the lock for one emulation at a time cannot be opened ({error.strerror}); "
            f"make {state_dir} a folder that this user can write to, or run as root"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise MachineCannot(
                f"another emulation (process {holder}) is running on this machine; wait for it or stop it"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
