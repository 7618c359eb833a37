"""Gives containers' programs the priorities that processes give themselves (`testbed.nodes.priority`), from outside.

A container has no capability to do so, and its limits cannot be raised everywhere. The user who runs the testbed can,
and then a node is as prompt in a container as outside one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from testbed.nodes.priority import WORKER_NICENESS, put_first

PROGRAM, WORKER = b"testbed.nodes.contained", b"testbed.nodes.worker"


def precede(pids: Mapping[str, int]) -> dict[str, str]:
    """For nodes by the first process of their container; says what each node program got."""
    inside = _by_namespace()
    got = {}
    for node, first in pids.items():
        got[node] = "SCHED_OTHER"
        for pid in inside.get(_namespace(first), []):
            words = _command(pid)
            if PROGRAM in words and pid != first:  # the first one only waits for it
                got[node] = put_first(pid)
            elif WORKER in words:
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, pid, WORKER_NICENESS)
    return got


def _by_namespace() -> dict[str, list[int]]:
    """Every process that can be looked into, by its process namespace."""
    found: dict[str, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        found.setdefault(_namespace(int(path.name)), []).append(int(path.name))
    return found


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""  # ended meanwhile, or not ours to look into


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
