"""A node program in a container: waits, and costs nothing, until the engine sends its configuration.

Started as `python3 -m testbed.nodes.contained SOCKET`. It dials a Unix socket in a mounted folder twice, for commands
and for replies: so neither the container engine nor its logs stand between the node and whoever runs it, and the node
ends when they close. Everything heavy is imported only when the configuration is there.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

BEAT_FILE = Path("/tmp/wan-testbed-beat")  # its age is what `testbed.nodes.health` looks at; of the container alone


class BeatingReplies:
    """The replies' stream, which leaves the time of the last reply in the beat file. A node replies every second."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        BEAT_FILE.touch()
        return len(data)


def read_line(connection: socket.socket) -> bytes:
    """The first line and nothing after it; empty at the end of the stream."""
    text = bytearray()
    while not text.endswith(b"\n"):
        byte = connection.recv(1)  # the commands after this line belong to the node program
        if not byte:
            return b""
        text += byte
    return bytes(text)


def _dial(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    return connection


def main(path: str) -> int:
    commands, replies = _dial(path), _dial(path)
    first = read_line(commands)
    if not first:
        return 0  # the run ended before it began
    BEAT_FILE.touch()
    os.dup2(commands.fileno(), sys.stdin.fileno())
    commands.close()

    import msgspec

    from testbed.nodes.control import NodeConfig
    from testbed.nodes.program import serve

    return serve(msgspec.json.decode(first, type=NodeConfig), BeatingReplies(replies))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
