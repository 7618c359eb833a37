"""The end of a process of ours that leads a group and has been told to end, by the end of its input."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any


def wait_or_kill(process: subprocess.Popen[Any], patience_s: float) -> None:
    """Waits for it; after `patience_s` its whole group is killed."""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
