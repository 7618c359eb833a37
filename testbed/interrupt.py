"""Ctrl-C, SIGTERM and SIGHUP end a run the same way, at any moment, and never cut its clean-up short.

Nor does what goes wrong in a clean-up hide what led to it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from testbed.errors import TestbedError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, each of these signals raises KeyboardInterrupt; one that was ignored before (nohup) stays ignored."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shielded() -> Iterator[None]:
    """Holds these signals back while something is taken down, and raises KeyboardInterrupt afterwards if one came."""
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda signum, frame: held.append(signum))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt


@contextmanager
def taking_down() -> Iterator[None]:
    """`shielded`, for a clean-up: what fails in it becomes a note of the error that led here, which goes on its way.

    Where nothing went wrong before it is raised, and after an interrupt too, whose notes nobody would read.
    """
    first = sys.exception()
    with shielded():
        try:
            yield
        except TestbedError as error:
            if not isinstance(first, Exception):
                raise
            note = f"while taking down: {error}"
            if note not in getattr(first, "__notes__", ()):  # said of the same thing by who tried before
                first.add_note(note)
