"""Where the `testbed` command starts: signals mean the same from its first instant to its last.

Rule kept: Ctrl-C, SIGTERM and SIGHUP end the command with 130 also while modules are imported, when there is nothing to
take down yet; and once its exit status is known, nothing changes it any more. So this imports nothing but what it needs
to say so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

from testbed.system.signals import SIGNALS

INTERRUPTED = 130


def main() -> None:
    """Entry point of the `testbed` command."""
    _leave_on_signal(INTERRUPTED)
    from testbed.cli.main import run_command
    from testbed.system.streams import outlast_terminal

    outlast_terminal()
    status = run_command()
    _leave_on_signal(status)
    if status == INTERRUPTED:
        print("testbed: interrupted", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(status)  # everything is taken down, and what finalisers of libraries would wait for is not
    sys.exit(status)


def _leave_on_signal(status: int) -> None:
    """From now on a signal ends this process at once, with this status; one that was ignored (nohup) stays so."""

    def leave(signum: int, frame: FrameType | None) -> None:
        if status == INTERRUPTED:
            with contextlib.suppress(OSError):  # the terminal is gone
                os.write(2, b"testbed: interrupted\n")
        os._exit(status)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
