"""A node program in a container: waits, and costs nothing, until the engine sends its configuration.

Started as `python3 -m testbed.nodes.contained SOCKET`. It dials a Unix socket in a mounted folder twice, for commands
and for replies: so neither the container engine nor its logs stand between the node and the engine, and the node
ends when they close. Everything heavy is imported only when the configuration is there.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from testbed.nodes.commands import Commands

# its age is what `testbed.nodes.health` looks at; in a container $TMPDIR is not set
BEAT_FILE = Path(os.environ.get("TMPDIR", "/tmp")) / "wan-testbed-beat"


class BeatingReplies:
    """The replies' stream, which leaves the time of the last reply in the beat file. A node replies every second."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        BEAT_FILE.touch()
        return len(data)


def _dial(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    return connection


def main(path: str) -> int:
    channel, replies = _dial(path), _dial(path)
    commands = Commands(channel.fileno())
    configuration = commands.next()  # this process ends here when the run ends before it began
    BEAT_FILE.touch()

    import msgspec

    from testbed.nodes.control import NodeConfig
    from testbed.nodes.program import serve

    return serve(msgspec.json.decode(configuration, type=NodeConfig), commands, BeatingReplies(replies))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
