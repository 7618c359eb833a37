"""A node program in a container, as the emulation engine sees it: `testbed.emulation.nodeprocess.Program`.

Commands and replies go through a Unix socket in the node's exchange folder; only its end, its exit status and what it
printed are asked of the container engine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.containers.engine import explained, load_sdk
from testbed.errors import MachineCannot, RunInvalid
from testbed.nodes.control import bounded_lines
from testbed.system.processes import ending, from_shell

if TYPE_CHECKING:
    from docker import DockerClient

POLL_S = 0.05
ENDED_S = 3.0  # until the engine knows what a closed channel tells already
CONNECT_S = 60.0  # dozens of interpreters start at once


class ControlSocket:
    """Where a node program dials in. Bound through the folder's descriptor: a socket's path has room for 108 bytes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            place = f"/proc/self/fd/{descriptor}/{name}"
            self._listener.bind(place)
            Path(place).chmod(0o666)  # the container's user is nobody here; the folder above keeps others out
        finally:
            os.close(descriptor)
        self._listener.listen(2)
        self._listener.settimeout(POLL_S)

    def accept(self) -> socket.socket | None:
        """The next connection; None when none came within POLL_S."""
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            return None
        connection.setblocking(True)
        return connection

    def close(self) -> None:
        self._listener.close()


class ContainerProgram:
    """A container of ours that runs; `connect` waits until the program in it has dialled in."""

    contained = True

    def __init__(self, client: DockerClient, identity: str, node: str, control: ControlSocket) -> None:
        self.identity = identity
        self._client = client
        self._node = node
        self._control = control
        self._ended: dict[str, Any] | None = None  # its state once it has ended
        self._commands: socket.socket | None = None
        self._replies: socket.socket | None = None
        self._waits = True  # for its configuration

    def connect(self) -> None:
        """Raises MachineCannot, with what it printed, when it ends or stays silent; RunInvalid when it is killed."""
        deadline = time.monotonic() + CONNECT_S
        while self._replies is None:
            connection = self._control.accept()
            if connection is not None:
                self._commands, self._replies = self._commands or connection, self._commands and connection
            elif (status := self.status()) is not None and status < 0:
                raise self._killed(status)
            elif status is not None or time.monotonic() > deadline:
                said = " ".join(self._log().decode(errors="replace").split()) or "no output"
                raise MachineCannot(
                    f"nodes docker: the container of {self._node} did not connect to the testbed (status {status}): "
                    f"{said}"
                )
        self._control.close()

    def check(self) -> None:
        """Raises RunInvalid when it has ended while it waits for its configuration: it says nothing until then."""
        if not self._waits or self._replies is None:
            return
        try:
            if self._replies.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return  # open, and silent as it should be
        except OSError:
            pass  # the other end was killed
        self.wait(ENDED_S)
        raise self._killed(self.status() or 0)

    def _killed(self, status: int) -> RunInvalid:
        return RunInvalid(f"node {self._node}: its container {ending(status)}")

    def send(self, data: bytes) -> None:
        if self._commands is None:
            raise BrokenPipeError
        self._waits = False
        self._commands.sendall(data)

    def send_at_once(self, data: bytes) -> None:
        if self._commands is not None:
            self._commands.send(data, socket.MSG_DONTWAIT)

    def lines(self) -> Iterator[bytes]:
        if self._replies is not None:
            with self._replies.makefile("rb") as stream:
                yield from bounded_lines(stream)

    def status(self) -> int | None:
        state = self._state()
        return None if state is None else from_shell(int(state["ExitCode"]))

    def over_its_memory(self) -> bool:
        return bool((self._state() or {}).get("OOMKilled"))

    def wait(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self._state() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def kill(self) -> None:
        docker = load_sdk()
        with explained(f"container of node {self._node}"), contextlib.suppress(docker.errors.APIError):
            self._client.api.kill(self.identity)  # unless it has ended by itself meanwhile

    def freeze(self) -> None:
        with explained(f"container of node {self._node}"):
            self._client.api.pause(self.identity)

    def thaw(self) -> None:
        with explained(f"container of node {self._node}"):
            self._client.api.unpause(self.identity)

    def save_log(self, path: Path) -> None:
        path.write_bytes(self._log())

    def close(self) -> None:
        """Closes the control channel, which ends the program."""
        self._control.close()
        for one in (self._commands, self._replies):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _state(self) -> dict[str, Any] | None:
        """The engine's account of how it ended; None while it runs."""
        if self._ended is None:
            with explained(f"container of node {self._node}"):
                state: dict[str, Any] = self._client.api.inspect_container(self.identity)["State"]
            if not state["Running"]:
                self._ended = state
        return self._ended

    def _log(self) -> bytes:
        with explained(f"log of node {self._node}"):
            text: bytes = self._client.api.logs(self.identity, stdout=True, stderr=True)
        return text
