"""Opens a file that a node left for the engine. A node in a container may have put anything there instead.

Rule kept: nothing but a plain file of bounded size is read: no link is followed (it would name a file of the engine's
machine), no pipe or device is waited for.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from testbed.errors import RunInvalid

MOST_BYTES = 2 * 2**30  # rows of millions of tokens


def open_left(path: Path, most_bytes: int = MOST_BYTES) -> BinaryIO:
    """Raises RunInvalid for what is not such a file."""
    try:
        # without O_NONBLOCK, a pipe without a writer would be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        why = {errno.ELOOP: "is a link", errno.ENXIO: "is a socket or a device", errno.ENOENT: "is missing"}
        raise RunInvalid(
            f"{path}: the node's output {why.get(error.errno or 0, f'cannot be read ({error})')}"
        ) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise RunInvalid(f"{path}: the node's output is not a regular file")
    if found.st_size > most_bytes:
        os.close(descriptor)
        raise RunInvalid(f"{path}: the node wrote {found.st_size} bytes; at most {most_bytes} are read")
    return os.fdopen(descriptor, "rb")
