"""Runs `tc` on a text of lines, in the network namespace of a node: the trees of `plan`, in a single process per tree.

Why not pyroute2 as for interfaces: a tree of 64 nodes has 12,000 classes, queues and filters. tc takes 0.03 ms of
processor time for each, pyroute2 0.5 to 0.9 ms (docs/design.md), and the lab's guest builds the same text.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from testbed.errors import MachineCannot
from testbed.network.hosts import enter


def run_tc(fabric: str, node: str, pid: int, lines: Sequence[str]) -> None:
    """`node` is named when tc refuses a line, in tc's own words, which number the line."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(enter(pid, ["tc", "-batch", "-"]), input=text, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split()) or "no reason given"
        raise MachineCannot(f"fabric {fabric}: node {node}: tc rejected its queues ({said}); see testbed doctor")


def tc_version() -> str:
    return subprocess.run(["tc", "-V"], capture_output=True, text=True).stdout.strip()
