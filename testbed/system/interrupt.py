"""Ctrl-C, SIGTERM and SIGHUP end a run the same way, at any moment, and never cut its clean-up short.

Nor does what goes wrong in a clean-up hide what led to it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from testbed.errors import NoEngine, TestbedError
from testbed.system.signals import SIGNALS

AGAIN_S = 0.05


@dataclass
class Signals:
    """What has been heard so far."""

    came: int = 0  # the latest one


@contextmanager
def interruptible() -> Iterator[Signals]:
    """Inside, each of these signals raises KeyboardInterrupt; one that was ignored before (nohup) stays ignored.

    One that is raised where Python cannot deliver it, in a finaliser or a library's callback, is raised
    again a moment later.
    """
    signals = Signals()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        signals.came = signum
        raise KeyboardInterrupt

    def again(lost: Any) -> None:
        if lost.exc_type is not KeyboardInterrupt:
            hook(lost)
            return
        timer = threading.Timer(AGAIN_S, os.kill, (os.getpid(), signals.came or signal.SIGINT))
        timer.daemon = True
        timer.start()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    hook, sys.unraisablehook = sys.unraisablehook, again
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield signals
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


class _Shield:
    """A handler that keeps what came; its type tells that signals are held back already."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def __call__(self, number: int, frame: object) -> None:
        self.held.append(number)


@contextmanager
def shielded() -> Iterator[None]:
    """Holds these signals back while something is taken down, and raises KeyboardInterrupt afterwards if one came.

    In a thread there is nothing to hold back: Python interrupts the main thread only. Within another `shielded` it is
    the outer one that raises, so that what it protects runs to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if any(isinstance(handler, _Shield) for handler in before.values()):
        yield
        return
    shield = _Shield()
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, shield)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if shield.held:
        raise KeyboardInterrupt


@contextmanager
def taking_down() -> Iterator[None]:
    """`shielded`, for a clean-up: what fails in it becomes a note of the error that led here, which is raised.

    Where nothing went wrong before it is raised, and after an interrupt too, whose notes are not shown.
    """
    first = sys.exception()
    with shielded():
        try:
            yield
        except TestbedError as error:
            if not isinstance(first, Exception):
                raise
            if isinstance(first, NoEngine) and isinstance(error, NoEngine):
                return  # that is what led here
            note = f"while taking down: {error}"
            if note not in getattr(first, "__notes__", ()):  # said of the same thing by who tried before
                first.add_note(note)
