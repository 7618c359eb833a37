"""The engine's commands to a node, read by their own thread: their end is noticed whatever the node is doing.

Rule kept: a node does not outlive its engine. Loading models, dialling, a policy that computes without end: none of
them delays it, and nothing waits for a timeout. Standard library only, so that it can begin before anything heavy is
imported.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from testbed.system.lines import Lines

READ_BYTES = 1 << 12


class Commands:
    """Whole lines of a descriptor, in order. When it ends or breaks, so does this process, at once.

    A model worker ends with it (`testbed.system.processes`). Lines are put together by who takes them: a plan of
    requests is long, and what one thread allots and another frees scatters the heap, by 20 kB a phase.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._deliver: Callable[[bytes], object] | None = None
        self._lock = threading.Lock()
        self._lines = Lines()
        self._whole: deque[bytes] = deque()
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def next(self) -> bytes:
        """Waits for the next line; before `deliver_to` only."""
        while not self._whole:
            self._whole.extend(self._lines.feed(self._waiting.get()))
        return self._whole.popleft()

    def lines(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data`, which was delivered, completes; in the thread that called `next`."""
        while self._whole:
            yield self._whole.popleft()
        yield from self._lines.feed(data)

    def deliver_to(self, deliver: Callable[[bytes], object]) -> None:
        """Hands over all data from now on, what waits first; called in the reading thread. See `lines`."""
        with self._lock:
            deliver(b"")  # for lines that are whole already
            while not self._waiting.empty():
                deliver(self._waiting.get())
            self._deliver = deliver

    def _read(self) -> None:
        while data := self._some():
            with self._lock:
                (self._deliver or self._waiting.put)(data)
        os._exit(0)  # nobody is left to tell anything, and an orderly end could wait for something

    def _some(self) -> bytes:
        try:
            return os.read(self._descriptor, READ_BYTES)
        except OSError:  # a socket whose other end was killed
            return b""
