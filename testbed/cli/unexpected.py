"""What is printed for an error that is not the user's input: the system's, in one line with its file; ours, as a
defect.

Rule kept: no traceback without a line before it that says what it is and what to do with it.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.files.reading import one_line, shown
from testbed.files.whole import FULL, DiskFull, unwritable
from testbed.system.streams import drop_rest

DEFECT = 1


def explained(error: Exception) -> int:
    """Prints it; returns the exit status."""
    if isinstance(error, MemoryError):
        _say("not enough memory; use less, or free some")
        return MachineCannot.exit_code
    if not isinstance(error, OSError):
        said = one_line(f"{type(error).__name__}: {error}")
        _say(f"this is a bug in the testbed, not in your input ({said}); please report it with the lines below")
        traceback.print_exception(error)
        return DEFECT
    name = "" if error.filename is None else os.fsdecode(error.filename)
    if error.errno in FULL:
        drop_rest(sys.stdout)
        _say(str(unwritable(name or "output", error)))
        return DiskFull.exit_code
    if not _folder_is_there():
        _say("the current folder no longer exists; change to another one")
    else:
        _say(": ".join(part for part in (shown(name), error.strerror or one_line(error)) if part))
    return MachineCannot.exit_code


def _say(line: str) -> None:
    print(f"testbed: {line}", file=sys.stderr)


def _folder_is_there() -> bool:
    try:
        Path.cwd()
    except OSError as error:
        return error.errno != errno.ENOENT
    return True
