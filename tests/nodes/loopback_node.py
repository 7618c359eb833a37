"""A node program as an ordinary process on loopback, and no engine: the test is at the other end of its channel."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from testbed.nodes.control import ControlCommand, ControlReply, NodeConfig, line
from testbed.system.processes import ending_with_this

Reply = TypeVar("Reply")


class Node:
    """A node program on its own address."""

    def __init__(
        self, folder: Path, models: Mapping[str, str], name: str = "user0", environment: Mapping[str, str] | None = None
    ) -> None:
        number = os.getpid() % 65000 + 256
        self.address = f"127.{77 + len(name)}.{number >> 8}.{number & 255}"  # names of two lengths: two addresses
        config = folder / f"{name}.json"
        devices = {"target": "l40s/llama-3.1-8b", "draft": "l40s/llama-3.2-1b"}
        config.write_bytes(msgspec.json.encode(NodeConfig(name, "near", self.address, dict(models), devices)))
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ending_with_this("testbed.nodes.piped", config),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def send(self, command: ControlCommand | None, raw: bytes = b"") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line(command) if command is not None else raw)
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def until(self, kind: type[Reply]) -> Reply:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            reply = msgspec.json.decode(text, type=ControlReply)
            if isinstance(reply, kind):
                return reply
        raise AssertionError(self.log.read_text())

    def worker(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 60
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(found[0])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
