"""`--pcap user0:target0`: what two nodes send each other, as both of them see it, in one file for Wireshark.

The capturing runs in its own process (`capture_process`), which reads packet sockets at both nodes' `eth0`; the
kernel stamps the times, all from one clock, so the file shows each packet leave and arrive. It is started before the
programs of the nodes and ended after them. Rule kept: a capture that lost packets says how many, or that the number is
unknown.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.errors import BadInput, MachineCannot
from testbed.network.spec.fabric import Port
from testbed.system.environment import of_programs
from testbed.system.journal import Journal

ENDING_PATIENCE_S = 10.0
Ends = tuple[str, str]


def parse_pair(text: str, nodes: Collection[str]) -> Ends:
    """`user0:target0`, both of them nodes of the experiment."""
    src, colon, dst = text.partition(":")
    if not colon or src == dst:
        raise BadInput(f"--pcap {text}: give two nodes, such as user0:target0")
    for name in (src, dst):
        if name not in nodes:
            raise BadInput(f"--pcap {text}: no node {name!r}; nodes: {', '.join(nodes)}")
    return src, dst


class Capture:
    """The captures of one run, one process for all of them.

    `facts` says what each file holds, once it has ended: null where the process died, whose file then lacks its end.
    """

    def __init__(self, ports: Sequence[Port], pairs: Sequence[Ends], folder: Path, journal: Journal) -> None:
        self._ports = {port.node: port for port in ports}
        self._files = {pair: folder / f"{pair[0]}-{pair[1]}.pcapng" for pair in pairs}
        self._journal = journal
        self._process: subprocess.Popen[bytes] | None = None
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._files:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the capturing, when what was sent before has been written. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        self.facts = {path.name: {"packets": None, "dropped": None} for path in self._files.values()}
        try:
            out, _ = process.communicate(b"", timeout=ENDING_PATIENCE_S)  # end of input is the order to stop
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return
        with contextlib.suppress(ValueError):  # of what a process that died did not say
            self.facts = json.loads(out)

    def _start(self) -> None:
        question = {
            "captures": [
                {
                    "file": str(path.absolute()),
                    "ends": [{"node": n, "address": self._ports[n].address, "pid": self._ports[n].pid} for n in pair],
                }
                for pair, path in self._files.items()
            ]
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testbed.network.measure.capture_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**of_programs(os.environ), **self._journal.environment},
            start_new_session=True,  # an interrupt at the terminal is the parent's to answer
        )
        self._journal.group(self._process.pid)
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says so below
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        said = self._process.stdout.readline().decode().strip()
        if said != "capturing":
            self.stop()
            raise MachineCannot(f"--pcap: cannot capture packets ({said or 'its process has ended'})")
