"""Ends a helper process that leads a group, after its input was closed."""

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
