"""Runs Python code that an experiment names: as the caller, but kept from ending or questioning the testbed.

Rules kept: what it raises, its SystemExit too, becomes BadInput with its own line; it gets an empty standard input and
its own name as only argument; what it prints goes with the message, or to stderr, never among our results. It is
trusted: nothing here stops code that means harm. Ctrl-C still interrupts.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from testbed.errors import BadInput, TestbedError
from testbed.files.reading import one_line, shown


@contextmanager
def foreign(path: Path, what: str) -> Iterator[None]:
    """Inside, code of the file `path` runs; `what` is done with it, for messages: `running it`."""
    said = io.StringIO()
    arguments, sys.argv = sys.argv, [str(path)]
    try:
        with _no_input(), redirect_stdout(said), redirect_stderr(said):
            yield
    except TestbedError:
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) or _interrupted(error, path):
            raise
        raise BadInput(f"{shown(path)}{_line(error, path)}: {what} {_ended(error)}{_printed(said)}") from error
    finally:
        sys.argv = arguments
    if printed := said.getvalue():
        sys.stderr.write(printed)


@contextmanager
def _no_input() -> Iterator[None]:
    """Nothing to read, for Python's standard input and for programs that are started."""
    kept_stdin = sys.stdin
    try:
        kept = os.dup(0)
    except OSError:  # closed by the caller
        kept = None
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        sys.stdin = io.StringIO()
        yield
    finally:
        sys.stdin = kept_stdin
        if kept is None:
            os.close(0)
        else:
            os.dup2(kept, 0)
            os.close(kept)
        if nothing != 0:
            os.close(nothing)


def _interrupted(error: BaseException, path: Path) -> bool:
    """Whether this is Ctrl-C, and not a KeyboardInterrupt that the file's own line raised."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return not frames or not _same(frames[-1].filename, path)


def _line(error: BaseException, path: Path) -> str:
    """Of the file, the innermost that was on the way."""
    if isinstance(error, SyntaxError) and _same(error.filename, path) and error.lineno is not None:
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, path)]
    return f":{lines[-1]}" if lines else ""


def _same(filename: str | None, path: Path) -> bool:
    return filename in (str(path), os.path.abspath(path))  # noqa: PTH100  # as Python names it: links not followed


def _ended(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        status = "" if error.code is None else f": {one_line(error.code)}"
        return (
            f"ended the program (SystemExit{status}); keep definitions only, and put the rest below `if __name__ == "
            "'__main__':`"
        )
    if isinstance(error, EOFError):
        return "failed (EOFError: it read from standard input, which is empty)"
    return f"failed ({one_line(f'{type(error).__name__}: {error}')})"


def _printed(said: io.StringIO) -> str:
    lines = said.getvalue().strip().splitlines()
    return f"; its output: {one_line(lines[-1])}" if lines else ""
