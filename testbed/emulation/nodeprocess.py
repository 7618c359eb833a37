"""One node program as the engine sees it: lines out, replies in, and its log when it fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from queue import Queue

import msgspec

from testbed.errors import BadInput, MachineCannot, RunInvalid, TestbedError
from testbed.nodes.control import ControlCommand, ControlReply, Failed, Quit, Ready, line

LOG_LINES_SHOWN = 15

Inbox = Queue[tuple["NodeProcess", ControlReply | None]]


class NodeFailed(RunInvalid):
    """A node ended, or no longer answers, while the run needed it; the message ends with the last lines of its log."""


class NodeProcess:
    """Wraps a started node program. Replies go to a shared inbox as (node, reply); None means its stdout closed."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path, inbox: Inbox) -> None:
        self.name = name
        self.process = process
        self.log_path = log_path
        self.heard = time.monotonic()  # when it last replied, beats included
        self._ready = False
        self._inbox = inbox
        self._reader = threading.Thread(target=self._read, name=f"replies of {name}", daemon=True)
        self._reader.start()

    def send(self, command: ControlCommand) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line(command))
            self.process.stdin.flush()
        except OSError as error:
            raise self.failure("takes no more commands") from error

    def failure(self, what: str) -> NodeFailed:
        """The error to raise for this node, with the end of its log."""
        return NodeFailed(f"node {self.name} {what}; end of {self.log_path}:\n{self._log_tail()}")

    def raise_for(self, reply: ControlReply | None) -> None:
        """Raises what a reply that means failure stands for; None is the end of the program."""
        if reply is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            raise self.failure(f"ended during the run (status {self.process.poll()})")
        if isinstance(reply, Failed):
            kinds: dict[int, type[TestbedError]] = {2: BadInput, 4: MachineCannot}
            kind = kinds.get(reply.exit_code)
            raise kind(f"node {self.name}: {reply.error}") if kind else self.failure(f"failed: {reply.error}")

    def ask_to_end(self) -> None:
        """Quit for a program that listens; one still loading its models does not, and is killed."""
        if self.process.poll() is not None:
            return
        if not self._ready:
            self.process.kill()
            return
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            os.set_blocking(self.process.stdin.fileno(), False)  # a stopped program's pipe may be full
            os.write(self.process.stdin.fileno(), line(Quit()))

    def end(self, deadline: float) -> None:
        """Waits until `deadline` (time.monotonic), then kills. Safe at any moment, more than once."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _log_tail(self) -> str:
        try:
            with self.log_path.open(errors="replace") as log:
                return "".join(deque(log, LOG_LINES_SHOWN)).strip() or "(its log is empty)"
        except OSError as error:
            return f"(its log cannot be read: {error.strerror})"

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(ControlReply)
        assert self.process.stdout is not None
        try:
            for text in self.process.stdout:
                reply = decoder.decode(text)
                self.heard = time.monotonic()
                self._ready = self._ready or isinstance(reply, Ready)
                self._inbox.put((self, reply))
        except msgspec.MsgspecError as error:
            self._inbox.put((self, Failed(f"sent a reply that cannot be read: {error}")))
        finally:
            self._inbox.put((self, None))
