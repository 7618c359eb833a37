"""The engine's commands to a node, read by their own thread: their end is noticed whatever the node is doing.

Rule kept: a node does not outlive its engine. Loading models, dialling, a policy that computes without end: none of
them delays it, and nothing waits for a timeout. Standard library only, so that it can begin before anything heavy is
imported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

READ_BYTES = 1 << 16


class Commands:
    """Whole lines of a descriptor, in order. When it ends or breaks, so does this process, at once.

    A model worker ends with it (`testbed.system.processes`).
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._deliver: Callable[[bytes], object] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def next(self) -> bytes:
        """Waits for the next line; before `deliver_to` only."""
        return self._waiting.get()

    def deliver_to(self, deliver: Callable[[bytes], object]) -> None:
        """Hands over every line from now on, those that wait first; called in the reading thread."""
        with self._lock:
            while not self._waiting.empty():
                deliver(self._waiting.get())
            self._deliver = deliver

    def _read(self) -> None:
        unfinished = b""
        while data := self._some():
            *lines, unfinished = (unfinished + data).split(b"\n")
            for text in lines:
                with self._lock:
                    (self._deliver or self._waiting.put)(text)
        os._exit(0)  # nobody is left to tell anything, and an orderly end could wait for something

    def _some(self) -> bytes:
        try:
            return os.read(self._descriptor, READ_BYTES)
        except OSError:  # a socket whose other end was killed
            return b""
