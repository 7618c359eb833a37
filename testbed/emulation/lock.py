"""One emulation at a time on a machine: two would steal each other's cores and both would be wrong.

The lock is a listening socket in the kernel's abstract namespace (unix(7)). So it goes with the process, whatever
becomes of it, and it is one for all users: root and people in user namespaces of their own find the same name, as none
of them leaves the machine's network namespace. Containers with a network of their own are machines of their own here.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from testbed.errors import MachineCannot

NAME = "wan-testbed-emulation"
UCRED = struct.Struct("iII")  # struct ucred of sys/socket.h: pid, uid, gid


@contextlib.contextmanager
def machine_lock(name: str = NAME) -> Iterator[None]:
    """Holds the machine's emulation lock. Raises MachineCannot, naming the holder, when another run has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(f"\0{name}")
        except OSError:
            holder = lock_holder(name)
            raise MachineCannot(
                f"another emulation (process {holder or 'unknown'}) is running on this machine; wait for it or stop it"
            ) from None
        lock.listen()
        yield


def lock_holder(name: str = NAME) -> int | None:
    """Process that runs an emulation now, as the kernel knows it; None when there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # nobody accepts: it would wait once as many have asked as the lock may queue
        try:
            asking.connect(f"\0{name}")
        except OSError:
            return None
        pid, _, _ = UCRED.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        return int(pid)
