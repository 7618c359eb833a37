"""`testbed ARGUMENTS` inside this process: what a command says and its status, without another interpreter's start.

For tests of verbs. Those of signals, streams, imports and of what a process leaves behind start a real one.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from testbed.cli.main import run_command

NETWORKS = ("run", "sweep", "probe", "shell", "pingall")  # for them an ordinary user's process enters another namespace


def testbed(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = ["testbed", *map(str, arguments)]
    if os.geteuid() != 0 and words[1] in NETWORKS:
        return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=250)
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        status = run_command()
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


testbed.__test__ = False  # type: ignore[attr-defined]  # its name begins like a test's
