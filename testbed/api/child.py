"""The command line as a child of the program that called `testbed.emulate` or `testbed.sweeps`, ending when it does.

`python -m testbed.api.child ARGUMENT...`. When the caller is gone, its end of our standard input closes and the kernel
sends SIGTERM, at which a run is taken down in order. No thread watches for it: an ordinary user's run enters a user
namespace, which only a process without threads may do.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys


def end_with_caller() -> None:
    """From now on the end of standard input is a SIGTERM; what runs here reads nothing from it."""
    watched = os.dup(sys.stdin.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    fcntl.fcntl(watched, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([watched], [], [], 0)[0]:  # it was gone before
        sys.exit(0)


if __name__ == "__main__":
    end_with_caller()
    from testbed.cli.entry import main

    main()
