"""One node program as the engine sees it: lines out, replies in, and its log when it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Protocol

import msgspec

from testbed.emulation.culprit import NodeFacts
from testbed.emulation.nodetemplate import Forked
from testbed.errors import RunInvalid, TestbedError
from testbed.nodes.control import ControlCommand, ControlReply, Failed, NodeConfig, Quit, Ready, bounded_lines, line

SILENCE_S = 15.0  # nodes beat once a second, and a machine that starves one so long cannot be trusted anyway
FIRST_WORD_S = 60.0  # a program that starts needs a core for a while: beside enough else that has taken 15 s
KILLED_S = 20.0  # more than the kernel, or a container engine, ever takes to end what was killed

Inbox = Queue[tuple["NodeProcess", ControlReply | None]]


class NodeFailed(RunInvalid):
    """A node ended, or no longer answers, while the run needed it."""


class Program(Protocol):
    """A started node program, whatever holds it: a process of this machine, or one in a container."""

    contained: bool

    def send(self, data: bytes) -> None:
        """Raises OSError when the program takes no more."""

    def send_at_once(self, data: bytes) -> None:
        """As much as goes without waiting; OSError or ValueError when nothing does."""

    def lines(self) -> Iterator[bytes]:
        """What it replies, until it closes its end."""
        ...

    def status(self) -> int | None:
        """Exit status, below 0 for a signal; None while it runs."""
        ...

    def over_its_memory(self) -> bool:
        """Whether it ended because it needed more than it was given."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within this time."""
        ...

    def kill(self) -> None: ...

    def freeze(self) -> None:
        """It and all its processes stop where they are, as if without power; connections stay open."""

    def thaw(self) -> None:
        """They go on where they were."""

    def save_log(self, path: Path) -> None:
        """Brings `path` up to what the program has printed so far."""


class PipedProgram:
    """A process that is talked to through its standard input and output; its standard error is a file already."""

    contained = False

    def __init__(self, process: Forked) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    def send(self, data: bytes) -> None:
        self._stdin.write(data)
        self._stdin.flush()

    def send_at_once(self, data: bytes) -> None:
        os.set_blocking(self._stdin.fileno(), False)  # a stopped program's pipe may be full
        os.write(self._stdin.fileno(), data)

    def lines(self) -> Iterator[bytes]:
        yield from bounded_lines(self._stdout)

    def status(self) -> int | None:
        return self._process.poll()

    def over_its_memory(self) -> bool:
        return False  # it was given no limit of its own

    def wait(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To its process group, which it leads (`MininetHosts.popen_at`): its model worker is in there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def save_log(self, path: Path) -> None:
        del path  # it is written there by the program itself


class NodeProcess:
    """Wraps a started node program. Replies go to a shared inbox as (node, reply); None means its end closed."""

    def __init__(self, name: str, program: Program, log_path: Path, inbox: Inbox) -> None:
        self.name = name
        self.program = program
        self.log_path = log_path
        self.heard = time.monotonic()  # when it last replied, beats included
        self.spoke = False  # its program runs
        self.frozen = False
        self.said: Failed | None = None  # why it failed, as it reported first
        self.closed = False  # it replies no more
        self._ready = False
        self._inbox = inbox
        self._reader = threading.Thread(target=self._read, name=f"replies of {name}", daemon=True)
        self._reader.start()

    def send(self, command: ControlCommand | NodeConfig) -> None:
        try:
            self.program.send(line(command))
        except OSError as error:
            raise self.failure("takes no more commands") from error

    def freeze(self) -> None:
        """Silent from now on, on purpose."""
        self.frozen = True  # first, for its silence may be noticed at any moment
        try:
            self.program.freeze()
        except BaseException:
            self.frozen = False
            raise

    def thaw(self) -> None:
        """Goes on, if it was frozen."""
        if self.frozen:
            self.program.thaw()
            self.heard = time.monotonic()
            self.frozen = False

    def check(self, now: float) -> None:
        """NodeFailed when it has been silent for too long at `now` (time.monotonic), and not on purpose."""
        limit_s = SILENCE_S if self.spoke else FIRST_WORD_S
        if not self.frozen and now - self.heard > limit_s:
            raise self.failure(f"has not answered for {limit_s:.0f} s")

    @property
    def awaits_status(self) -> bool:
        """It has closed its end, and how it ended is not known yet."""
        return self.closed and self.program.status() is None

    def facts(self) -> NodeFacts:
        """How it is right now, for who looks for the cause of a failure. MachineCannot when its engine is gone."""
        status = self.program.status()
        if status is not None or self.said is not None:
            self.program.save_log(self.log_path)
        return NodeFacts(
            name=self.name,
            said=self.said,
            status=status,
            log=str(self.log_path),
            last_words=self._last_words(),
            contained=self.program.contained,
            over_its_memory=self.program.over_its_memory(),
        )

    def failure(self, what: str) -> NodeFailed:
        """The error to raise for this node, which names its log."""
        with contextlib.suppress(TestbedError):  # what else is wrong is found by who looks for the cause
            self.program.save_log(self.log_path)
        return NodeFailed(f"node {self.name} {what}; log: {self.log_path}")

    def ask_to_end(self) -> None:
        """Quit for a program that listens; one still loading its models does not, and is killed."""
        if self.program.status() is not None:
            return
        if not self._ready:
            self.program.kill()
            return
        with contextlib.suppress(OSError, ValueError):
            self.program.send_at_once(line(Quit()))

    def end(self, deadline: float) -> None:
        """Waits until `deadline` (time.monotonic), then kills. Safe at any moment, more than once."""
        if not self.program.wait(max(0.0, deadline - time.monotonic())):
            self.program.kill()
            self.program.wait(KILLED_S)
        self.program.save_log(self.log_path)

    def _last_words(self) -> str:
        try:
            with self.log_path.open(errors="replace") as log:
                return next(iter(deque((text for line in log if (text := line.strip())), 1)), "")
        except OSError:
            return ""

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(ControlReply)
        try:
            for text in self.program.lines():
                reply = decoder.decode(text)
                self.heard = time.monotonic()
                self.spoke = True
                self._ready = self._ready or isinstance(reply, Ready)
                if isinstance(reply, Failed):
                    self.said = self.said or reply
                self._inbox.put((self, reply))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter for bytes that are not UTF-8
            self.said = self.said or Failed(f"it sent an unreadable reply: {error}")
        except RunInvalid as error:
            self.said = self.said or Failed(f"it {error}")
        except OSError:
            pass  # a socket whose other end was killed
        finally:
            self.closed = True
            self._inbox.put((self, None))
