"""Runs a verb of the command line in a child process and brings back what it found, or the error that it printed.

A separate process needs nothing of the caller's: neither a main thread, nor one without threads, nor a script that
can be imported again. Ctrl-C, and the interrupt of a notebook, end the child in order before they are raised.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any

from testbed.cli.entry import INTERRUPTED
from testbed.errors import RunInvalid, error_of

SAID = "testbed: "  # before every error line of the command line
TAKEN_DOWN_S = 120.0
LAST_LINES = 20  # of a defect


def call(arguments: Sequence[object], note: Callable[[str], None]) -> Any:
    """What `testbed ARGUMENTS --json` prints; each line of its progress goes to `note`.

    Raises what it ended with: BadInput, MachineCannot or RunInvalid with its own line. A verb that finished and found
    its result not valid has printed it, and it comes back.
    """
    command = [sys.executable, "-m", "testbed.api.child", *map(str, arguments), "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # a Ctrl-C at a terminal reaches us alone, and we hand it on once
    )
    output, errors = process.stdout, process.stderr
    assert output is not None and errors is not None
    printed: list[str] = []
    reader = Thread(target=lambda: printed.append(output.read()), daemon=True)
    reader.start()
    said: list[str] = []
    try:
        for line in errors:
            said.append(line.rstrip("\n"))
            if not line.startswith(SAID):
                note(said[-1])
        process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        reader.join(TAKEN_DOWN_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return _result(process.returncode, "".join(printed), said)


def _end(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C would; what it takes down may take a while."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(TAKEN_DOWN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _result(status: int, printed: str, said: Sequence[str]) -> Any:
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if printed.strip() and status in (0, RunInvalid.exit_code):
        return json.loads(printed)
    errors = [line.removeprefix(SAID) for line in said if line.startswith(SAID)]
    if status < 0:
        raise RunInvalid(f"the run's process was killed by signal {-status}")
    if not errors or status not in (2, 3, 4):
        raise RuntimeError("\n".join([f"testbed ended with status {status}", *said[-LAST_LINES:]]))
    error = error_of(status, errors[0])
    for note in errors[1:]:
        error.add_note(note)
    raise error
