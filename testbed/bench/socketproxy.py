"""A proxy on loopback that fails as told: delays, reads slowly, holds one direction, or breaks its connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from typing import Literal

Kind = Literal["delay", "slow", "half_open", "cut", "hang_up", "restart"]
KINDS: tuple[Kind, ...] = ("delay", "slow", "half_open", "cut", "cut", "cut", "hang_up", "restart")


@dataclass(frozen=True)
class SocketFault:
    """At `at_s`, for `for_s`: on the way between the target and `node`; `back`: of what the target sends."""

    kind: Kind
    node: str
    back: bool
    at_s: float
    for_s: float


class Proxy:
    """Stands between one node and the target, for every connection that the node makes."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._until = {False: 0.0, True: 0.0}  # until when a direction (back or not) is held
        self._slow_until = 0.0
        self._late_s = {False: 0.0, True: 0.0}
        self._server: asyncio.Server | None = None
        self.connections = 0

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()

    def meet(self, fault: SocketFault) -> None:
        until = time.monotonic() + fault.for_s
        match fault.kind:
            case "half_open":
                self._until[fault.back] = until
            case "slow":
                self._slow_until = until
            case "delay":
                self._late_s[fault.back] = fault.for_s / 10
            case "cut":
                self.cut()

    def cut(self) -> None:
        """Both ends are reset; what is in between is lost."""
        for writer in self._writers:
            _reset(writer)
        self._writers.clear()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            _reset(writer)
            return
        self._writers += [writer, back]
        self.connections += 1
        for source, sink, direction in ((reader, back, False), (there, writer, True)):
            task = asyncio.get_running_loop().create_task(self._pump(source, sink, direction))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: bool) -> None:
        try:
            while data := await source.read(16 if time.monotonic() < self._slow_until else 4096):
                if time.monotonic() < self._slow_until:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(self._late_s[back])
                while time.monotonic() < self._until[back]:
                    await asyncio.sleep(0.005)
                sink.write(data)
                await sink.drain()
            sink.close()
        except OSError:  # one side is reset, so the other will be
            _reset(sink)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a router does that has lost its state, not as a program that is done."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
