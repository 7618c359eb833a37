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

from testbed.errors import BadInput, MachineCannot, RunInvalid, TestbedError
from testbed.nodes.control import ControlCommand, ControlReply, Failed, Quit, Ready, line

LOG_LINES_SHOWN = 15
KILLED_S = 20.0  # more than the kernel, or a container engine, ever takes to end what was killed

Inbox = Queue[tuple["NodeProcess", ControlReply | None]]


class NodeFailed(RunInvalid):
    """A node ended, or no longer answers, while the run needed it; the message ends with the last lines of its log."""


class Program(Protocol):
    """A started node program, whatever holds it: a process of this machine, or one in a container."""

    def send(self, data: bytes) -> None:
        """Raises OSError when the program takes no more."""

    def send_at_once(self, data: bytes) -> None:
        """As much as goes without waiting; OSError or ValueError when nothing does."""

    def lines(self) -> Iterator[bytes]:
        """What it replies, until it closes its end."""
        ...

    def status(self) -> int | None:
        """Exit status; None while it runs."""
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

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    def send(self, data: bytes) -> None:
        self._stdin.write(data)
        self._stdin.flush()

    def send_at_once(self, data: bytes) -> None:
        os.set_blocking(self._stdin.fileno(), False)  # a stopped program's pipe may be full
        os.write(self._stdin.fileno(), data)

    def lines(self) -> Iterator[bytes]:
        yield from self._stdout

    def status(self) -> int | None:
        return self._process.poll()

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
        self.frozen = False
        self._ready = False
        self._inbox = inbox
        self._reader = threading.Thread(target=self._read, name=f"replies of {name}", daemon=True)
        self._reader.start()

    def send(self, command: ControlCommand) -> None:
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

    def failure(self, what: str) -> NodeFailed:
        """The error to raise for this node, with the end of its log."""
        self.program.save_log(self.log_path)
        return NodeFailed(f"node {self.name} {what}; end of {self.log_path}:\n{self._log_tail()}")

    def raise_for(self, reply: ControlReply | None) -> None:
        """Raises what a reply that means failure stands for; None is the end of the program."""
        if reply is None:
            self.program.wait(1.0)
            raise self.failure(f"ended during the run (status {self.program.status()})")
        if isinstance(reply, Failed):
            self.program.wait(1.0)  # its log is complete then
            kinds: dict[int, type[TestbedError]] = {2: BadInput, 4: MachineCannot}
            kind = kinds.get(reply.exit_code)
            raise kind(f"node {self.name}: {reply.error}") if kind else self.failure(f"failed: {reply.error}")

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

    def _log_tail(self) -> str:
        try:
            with self.log_path.open(errors="replace") as log:
                return "".join(deque(log, LOG_LINES_SHOWN)).strip() or "(its log is empty)"
        except OSError as error:
            return f"(its log cannot be read: {error.strerror})"

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(ControlReply)
        try:
            for text in self.program.lines():
                reply = decoder.decode(text)
                self.heard = time.monotonic()
                self._ready = self._ready or isinstance(reply, Ready)
                self._inbox.put((self, reply))
        except msgspec.MsgspecError as error:
            self._inbox.put((self, Failed(f"sent a reply that cannot be read: {error}")))
        finally:
            self._inbox.put((self, None))
