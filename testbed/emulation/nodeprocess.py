"""One node program as the engine sees it: lines out, replies in, and its log when it dies."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from pathlib import Path
from queue import Empty, Queue

import msgspec

from testbed.errors import BadInput, MachineCannot, RunInvalid, TestbedError
from testbed.nodes.control import ControlCommand, ControlReply, Failed, Quit, line

LOG_LINES_SHOWN = 15
GRACE_S = 3.0

Inbox = Queue[tuple["NodeProcess", ControlReply | None]]


class NodeDied(RunInvalid):
    """A node program ended while the run needed it; the message ends with the last lines of its log."""


class NodeProcess:
    """Wraps a started node program. Replies go to a shared inbox as (node, reply); None means its stdout closed."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path, inbox: Inbox) -> None:
        self.name = name
        self.process = process
        self.log_path = log_path
        self._inbox = inbox
        self._reader = threading.Thread(target=self._read, name=f"replies of {name}", daemon=True)
        self._reader.start()

    def send(self, command: ControlCommand) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line(command))
            self.process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise self.died() from error

    def died(self) -> NodeDied:
        """The error to raise for this node, with the end of its log."""
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        try:
            with self.log_path.open(errors="replace") as log:
                tail = "".join(deque(log, LOG_LINES_SHOWN)).strip()
        except OSError:
            tail = ""
        shown = tail or "(its log is empty)"
        status = self.process.returncode
        return NodeDied(f"node {self.name} ended during the run (status {status}); end of {self.log_path}:\n{shown}")

    def stop(self) -> None:
        """Asks the program to end, then makes it. Safe at any moment, more than once."""
        if self.process.poll() is None:
            try:
                assert self.process.stdin is not None
                self.process.stdin.write(line(Quit()))
                self.process.stdin.close()
            except (BrokenPipeError, OSError, ValueError):
                pass
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(ControlReply)
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self._inbox.put((self, decoder.decode(text)))
        self._inbox.put((self, None))


def next_reply(inbox: Inbox, timeout_s: float, waiting_for: str) -> tuple[NodeProcess, ControlReply]:
    """The next reply of any node. Raises what a node reported, NodeDied when one ended, RunInvalid on a stall."""
    try:
        node, reply = inbox.get(timeout=timeout_s)
    except Empty as error:
        raise RunInvalid(f"nothing happened for {timeout_s:.0f} s while waiting for {waiting_for}") from error
    if reply is None:
        raise node.died()
    if isinstance(reply, Failed):
        kinds: dict[int, type[TestbedError]] = {2: BadInput, 4: MachineCannot}
        kind = kinds.get(reply.exit_code)
        if kind is not None:
            raise kind(f"node {node.name}: {reply.error}")
        raise node.died()
    return node, reply
