"""`--pcap user0:target0`: what two nodes send each other, as both of them see it, in one file for Wireshark.

The capturing runs in its own process (`capture_process`), which reads packet sockets at both nodes' `eth0`; the
kernel stamps the times, all from one clock, so the file shows each packet leave and arrive. It is started before the
programs of the nodes and ended after them. Rule kept: a capture that lost packets says how many, or that the number is
unknown.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.errors import BadInput, MachineCannot
from testbed.network.spec.fabric import Port
from testbed.system.helper import HelperEnded, HelperProcess, HelperSilent
from testbed.system.journal import Journal

START_PATIENCE_S = 20.0
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


def comment(dilation: float, clock: str) -> str:
    """What stands at the head of a file: which time its stamps are, and how the run's clock went."""
    stamps = "the kernel's, wall time" if dilation == 1 else f"virtual: wall time by {dilation:g} from the start on"
    return f"dilation {dilation:g}; time stamps are {stamps}; {clock}"


class Capture:
    """The captures of one run, one process for all of them.

    `facts` says what each file holds, once it has ended: null where the process died, whose file then lacks its end.
    """

    def __init__(
        self, ports: Sequence[Port], pairs: Sequence[Ends], folder: Path, journal: Journal, dilation: float = 1.0
    ) -> None:
        self._dilation = dilation
        self.clock = ""  # how the run's clock went, for the comment in the files; set before the end
        self._ports = {port.node: port for port in ports}
        self._files = {pair: folder / f"{pair[0]}-{pair[1]}.pcapng" for pair in pairs}
        self._journal = journal
        self._helper: HelperProcess | None = None
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
        helper, self._helper = self._helper, None
        if helper is None:
            return
        self.facts = {path.name: {"packets": None, "dropped": None} for path in self._files.values()}
        # ValueError: of what a process that died did not say
        with contextlib.suppress(HelperSilent, HelperEnded, ValueError):
            if self.clock:
                helper.send(comment(self._dilation, self.clock).encode())
            self.facts = json.loads(helper.rest(ENDING_PATIENCE_S))
        helper.end(0.0)

    def _start(self) -> None:
        question = {
            "dilation": self._dilation,
            "comment": comment(self._dilation, "how its clock went is not known, as the capture was cut off"),
            "captures": [
                {
                    "file": str(path.absolute()),
                    "ends": [{"node": n, "address": self._ports[n].address, "pid": self._ports[n].pid} for n in pair],
                }
                for pair, path in self._files.items()
            ],
        }
        self._helper = HelperProcess("testbed.network.measure.capture_process", journal=self._journal)
        try:
            self._helper.send(json.dumps(question).encode() + b"\n")
            self._helper.lines(1, START_PATIENCE_S)  # it captures
        except (HelperSilent, HelperEnded) as error:
            self.stop()
            raise MachineCannot(f"--pcap: cannot capture packets ({error})") from None
        except BaseException:
            self.stop()
            raise
