"""The template that the node programs of a run are forks of (`testbed.system.template`), as the engine sees it.

What a node program imports takes half a second of processor time and 40 MB; a fork takes milliseconds and shares them.
Rule kept: a node's program is known by number, journalled and ended as any other, though the template waits for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from testbed.errors import RunInvalid
from testbed.network.hosts import MininetHosts
from testbed.system import environment
from testbed.system.helper import HelperProcess
from testbed.system.netns import namespace_of
from testbed.system.template import ORDER_BYTES, room
from testbed.system.waiting import readable

WARM = ("testbed.nodes.program",)  # what they all import
WARM_RECORDED = (*WARM, "testbed.nodes.recorded")  # where no model runs: 18 of the 22 ms that a node took to start
ANSWER_S = 60.0  # it imports before its first answer, beside whatever else a machine does


class Forked:
    """A program made by the template: of what `subprocess.Popen` has, what is used of node programs."""

    def __init__(self, template: NodeTemplate, pid: int, stdin: int, stdout: int) -> None:
        self._template = template
        self.pid = pid
        self.stdin: IO[bytes] | None = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(stdout, "rb")

    def poll(self) -> int | None:
        return self._template.status(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        status = self._template.status(self.pid, float("inf") if timeout is None else timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return status

    def kill(self) -> None:
        if self.poll() is None:  # its number is its own until `status` has acknowledged its end
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class NodeTemplate:
    """Of one run. Used by one thread."""

    def __init__(self, hosts: MininetHosts, log_path: Path, kept: Sequence[str], warm: Sequence[str] = WARM) -> None:
        """`kept` are the capabilities that its programs keep, `warm` the modules that it imports for them."""
        self._hosts = hosts
        self._name = f"the node programs' template ({log_path})"
        self._kept = list(kept)
        self._statuses: dict[int, int] = {}
        self._gone = False  # the template has closed its end
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = HelperProcess(
                "testbed.system.template",
                *(theirs.fileno(), " ".join(warm), " ".join(self._kept), room()),
                journal=hosts.journal,
                tied=True,
                speaks=False,
                log=log_path,
                pass_fds=[theirs.fileno()],
                env=environment.OF_NODES,
            )

    def start(self, pid: int, module: str, argument: Path, log_path: Path, descriptor: int | None = None) -> Forked:
        """`module.main(argument)` in the namespace of process `pid`; it inherits `descriptor` under its number."""
        order = {"module": module, "arguments": [str(argument)], "keep": self._kept, "descriptor": descriptor}
        with contextlib.ExitStack() as ours, log_path.open("wb") as log:
            namespace = _closed_by(ours, namespace_of(pid))
            (commands, stdin), (stdout, replies) = os.pipe(), os.pipe()
            theirs = [namespace, _closed_by(ours, commands), _closed_by(ours, replies), log.fileno()]
            if descriptor is not None:
                theirs.append(descriptor)
            try:
                with contextlib.suppress(OSError):  # the template has ended: `_made` says how
                    socket.send_fds(self._orders, [json.dumps(order).encode()], theirs)
                program = Forked(self, self._made(log_path), stdin, stdout)
            except BaseException:
                os.close(stdin)
                os.close(stdout)
                raise
        self._hosts.adopt(program)
        return program

    def status(self, pid: int, patience_s: float = 0.0) -> int | None:
        """How a program has ended, within this time; None while it runs."""
        deadline = time.monotonic() + patience_s
        while pid not in self._statuses:
            if self._gone:
                return -signal.SIGKILL  # the kernel ends them with their template
            left_s = max(0.0, deadline - time.monotonic())
            if self._hear(left_s) is None and not self._gone and time.monotonic() >= deadline:
                return None
        return self._statuses[pid]

    def ended(self) -> dict[str, int]:
        """Its own status by name, once it has ended."""
        status = self._process.status
        return {} if status is None else {self._name: status}

    def end(self, deadline: float) -> None:
        """When its programs have ended. Waits until `deadline` (time.monotonic), then kills. More than once, too."""
        self._orders.close()
        self._gone = True
        self._process.end(max(0.0, deadline - time.monotonic()))

    def _made(self, log_path: Path) -> int:
        deadline = time.monotonic() + ANSWER_S
        while not self._gone and (left_s := deadline - time.monotonic()) > 0:
            heard = self._hear(left_s)
            if heard is not None and "pid" in heard:
                if "refused" in heard:
                    raise RunInvalid(f"a node program cannot be started: {heard['refused']}; log: {log_path}")
                return int(heard["pid"])
        why = self._process.ended(ANSWER_S) if self._gone else f"has not answered for {ANSWER_S:.0f} s"
        raise RunInvalid(f"{self._name} {why}")

    def _hear(self, patience_s: float) -> dict[str, int | str] | None:
        """One message of the template, noted; None if there is none within this time, or none any more."""
        if self._gone or not readable(self._orders.fileno(), min(patience_s, ANSWER_S)):
            return None
        try:
            data = self._orders.recv(ORDER_BYTES, socket.MSG_PEEK)  # an interrupt before it is noted must not lose it
        except ConnectionError:
            data = b""
        if not data:
            self._gone = True
            return None
        heard: dict[str, int | str] = json.loads(data)
        if "ended" in heard:
            self._statuses[int(heard["ended"])] = int(heard["status"])
        self._orders.recv(ORDER_BYTES)
        if "ended" in heard:
            with contextlib.suppress(OSError):  # it has ended itself
                self._orders.send(json.dumps({"acknowledged": heard["ended"]}).encode())
        return heard


def _closed_by(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor
