"""A program of ours beside the engine: a shaper, a probe, a capture, a guest's keeper. All start, speak and end alike.

Rules kept: a helper gets none of the caller's secrets, is in the run's journal before it is spoken to, and does not
hear an interrupt at the terminal, which is the parent's to answer. The end of its input tells it to end; after that
its whole group is killed. What it said last, or the signal that ended it, is what an error says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.errors import RunInvalid
from testbed.system.environment import of_programs
from testbed.system.journal import Journal
from testbed.system.lines import Lines
from testbed.system.processes import ending, ending_with_this
from testbed.system.waiting import readable

LOOK_S = 0.5  # between two looks at whether all that the helper works on still lives
READ_BYTES = 1 << 16
WORDS_BYTES = 1 << 12  # of a log's end, for its last line
GONE_S = 10.0  # for a process that has closed its output to end


class HelperEnded(RunInvalid):
    """It ended, or was killed, while something was wanted of it; says why, without its name."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


class HelperSilent(RunInvalid):
    """It lives and has not replied in time."""

    def __init__(self, patience_s: float) -> None:
        super().__init__(f"has not replied for {patience_s:.0f} s")


def start(
    argv: Sequence[str], journal: Journal | None, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """A process of the run in its own session, marked and journalled; options as for `Popen`."""
    wanted = {**(of_programs(os.environ) if env is None else env), **(journal.environment if journal else {})}
    process = subprocess.Popen(argv, env=wanted, start_new_session=True, **options)
    if journal is not None:
        journal.group(process.pid)
    return process


class HelperProcess:
    """One of them. `pid` leads the group of all that it starts."""

    def __init__(
        self,
        module: str,
        *arguments: object,
        journal: Journal | None,
        tied: bool = False,
        speaks: bool = True,
        log: Path | None = None,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`tied`: the kernel kills it with this process; not for one that must still put something away then.

        `speaks`: by lines on standard input and output; else by a descriptor that it inherits. `log`: a file for all
        that it prints, in place of a nameless one for its errors. `env`: over and above what every helper gets.
        """
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._log = os.memfd_create("log") if log is None else os.open(log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        self._lines = Lines()
        self._whole: deque[bytes] = deque()  # not asked for yet
        self._process: subprocess.Popen[bytes] = start(
            ending_with_this(module, *arguments) if tied else command,
            journal,
            {**of_programs(os.environ), **(env or {})},
            stdin=subprocess.PIPE if speaks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if speaks else self._log,
            stderr=self._log,
            pass_fds=pass_fds,
            bufsize=0,
        )
        self.pid = self._process.pid

    @property
    def status(self) -> int | None:
        """As of `subprocess`; None while it runs."""
        return self._process.poll()

    def ended(self, patience_s: float = 0.0) -> str | None:
        """What became of it, in words; None when it still runs after `patience_s`."""
        try:
            status = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return None
        words = self.last_words() if status > 0 else ""
        return f"{ending(status)}: {words}" if words else ending(status)

    def send(self, data: bytes) -> None:
        """All of it; HelperEnded when it no longer reads."""
        assert self._process.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._process.stdin.fileno(), view) :]
        except BrokenPipeError:
            raise self._end() from None

    def lines(self, count: int, patience_s: float) -> list[bytes]:
        """So many more lines of its output, each chunk within `patience_s`; HelperSilent or HelperEnded else."""
        while len(self._whole) < count:
            self._whole += self._lines.feed(self._read(patience_s))
        return [self._whole.popleft() for _ in range(count)]

    def rest(self, patience_s: float, check: Callable[[], None] = lambda: None) -> bytes:
        """Ends its input, and gives what it says from now on once it has ended.

        HelperSilent after `patience_s`; HelperEnded for one that failed. `check` is called again and again meanwhile,
        and may raise.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        deadline = time.monotonic() + patience_s
        said = bytearray(b"".join(line + b"\n" for line in self._whole) + self._lines.rest())
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise HelperSilent(patience_s)
            if readable(self._process.stdout.fileno(), min(left, LOOK_S)):
                data = os.read(self._process.stdout.fileno(), READ_BYTES)
                if not data:
                    break
                said += data
            check()
        if self._wait(GONE_S) != 0:
            raise self._end()
        return bytes(said)

    def terminate(self) -> None:
        """For one whose end is not that of its input."""
        self._process.terminate()

    def end(self, patience_s: float) -> None:
        """Ends its input and waits for it; after `patience_s` its whole group is killed. Safe more than once."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._wait(patience_s)
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def last_words(self) -> str:
        """The last line of its log; empty when there is none, and after `end`."""
        if self._log < 0:
            return ""
        size = os.fstat(self._log).st_size
        tail = os.pread(self._log, WORDS_BYTES, max(0, size - WORDS_BYTES)).decode(errors="replace")
        return next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "")

    def _read(self, patience_s: float) -> bytes:
        assert self._process.stdout is not None
        if not readable(self._process.stdout.fileno(), patience_s):
            raise HelperSilent(patience_s)
        data = os.read(self._process.stdout.fileno(), READ_BYTES)
        if not data:
            raise self._end()
        return data

    def _end(self) -> HelperEnded:
        """It has closed its end."""
        status = self._wait(GONE_S)
        return HelperEnded((status > 0 and self.last_words()) or f"its process {ending(status)}", status)

    def _wait(self, patience_s: float) -> int:
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return self._process.wait()
