"""A node program as a process of this machine: commands on standard input, replies on standard output.

Started as `python -m testbed.nodes.piped CONFIG.json` inside the node's network namespace. Everything heavy is imported
only when its commands are watched, so that it ends with its engine from the first moment on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from testbed.nodes.commands import Commands


def main(config_path: str) -> int:
    commands = Commands(os.dup(sys.stdin.fileno()))
    nothing = os.open(os.devnull, os.O_RDONLY)  # commands are for the node: a policy's file or a library reads none
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    # replies get their own descriptor: whatever a library prints belongs in the log
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    import msgspec

    from testbed.nodes.control import NodeConfig
    from testbed.nodes.program import serve

    return serve(msgspec.json.decode(Path(config_path).read_bytes(), type=NodeConfig), commands, replies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
