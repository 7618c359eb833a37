"""The model workers that several nodes of a run share: started before the nodes, ended with them.

A node is connected to its worker by a socket pair made here and inherited by both. So nothing has a name in a file
system, network namespaces do not matter, and the worker ends by itself when its nodes have ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from testbed.emulation.confinement import Confinement
from testbed.network.network import Network
from testbed.nodes.sharing import why
from testbed.system import environment
from testbed.system.processes import ending_with_this


class SharedWorkers:
    """All of one run; none where every node has its own worker."""

    def __init__(self, network: Network, log_dir: Path) -> None:
        self._network = network
        self._log_dir = log_dir
        self._served: list[list[str]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ends: dict[str, socket.socket] = {}  # of nodes not started yet

    def start(self, served: Sequence[Sequence[str]], confinement: Confinement) -> None:
        """One worker for each group of nodes."""
        for number, nodes in enumerate(served):
            self._served.append(list(nodes))
            theirs = []
            for node in nodes:
                self._ends[node], worker_end = socket.socketpair()
                theirs.append(worker_end)
            descriptors = [one.fileno() for one in theirs]
            with self._log(number).open("wb") as log:
                process = self._network.hosts.popen_at(
                    os.getpid(),  # in no node's namespace: it speaks to nobody but its nodes
                    confinement.command(ending_with_this("testbed.nodes.sharedworker", *descriptors)),
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment.of_nodes(os.environ),
                )
            self._processes.append(process)
            for one in theirs:
                one.close()

    def descriptor(self, node: str) -> int | None:
        """To be inherited by the node's program; None for a node with its own worker."""
        return self._ends[node].fileno() if node in self._ends else None

    def started(self, node: str) -> None:
        """The node's program has its end, so ours must not keep the connection open."""
        if node in self._ends:
            self._ends.pop(node).close()

    def ended(self) -> dict[str, int]:
        """Statuses of those that have ended while their nodes need them, by name."""
        statuses = {number: process.poll() for number, process in enumerate(self._processes)}
        return {
            f"shared model worker {number} ({self._log(number)})": status
            for number, status in statuses.items()
            if status is not None
        }

    def end(self, deadline: float) -> None:
        """Waits until `deadline` (time.monotonic), then kills. Safe at any moment, more than once."""
        for node in list(self._ends):
            self.started(node)
        while self._processes:
            process = self._processes.pop()
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def facts(self) -> dict[str, object]:
        """For the manifest; while they run."""
        shared = [
            {"nodes": nodes, "resident_mb": _resident_mb(process.pid)}
            for nodes, process in zip(self._served, self._processes, strict=True)
        ]
        return {"shared": shared, "why": why(self._served)}

    def _log(self, number: int) -> Path:
        return self._log_dir / f"sharedworker{number}.log"


def _resident_mb(pid: int) -> float | None:
    """proc(5), statm field 2: resident pages; None for a process that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGESIZE") / 2**20, 1)
