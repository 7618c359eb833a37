"""Gathers what is broken when a run fails, and has `testbed.emulation.culprit` name the cause.

Rule kept: what is said to have failed first is not believed at once. Whatever else is about to be found dead gets a
moment to be, because news of it comes over a dozen channels in any order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from testbed.emulation.culprit import Facts, NodeFacts, culprit
from testbed.emulation.nodeprocess import NodeProcess
from testbed.errors import NoEngine
from testbed.network.network import SETTLE_S, Network

STATUS_S = 3.0  # until a program whose channel has closed has a status, too: a container engine may be slow
LOOK_S = 0.02
VMSTAT = Path("/proc/vmstat")


class Evidence:
    """Made as the nodes are started: what the kernel kills for want of memory counts from then on."""

    def __init__(self, network: Network, helpers_ended: Callable[[], dict[str, int]]) -> None:
        """`helpers_ended`: how those that the nodes live on have ended, by name."""
        self._network = network
        self._helpers_ended = helpers_ended
        self._oom_kills = oom_kills()

    def raise_cause(self, error: BaseException | None, nodes: Callable[[], Iterable[NodeProcess]]) -> None:
        """Raises what `error` is a consequence of; returns where that is nothing else, or nothing failed."""
        if not isinstance(error, Exception):
            return  # an interrupt is what it is
        started = time.monotonic()
        while True:
            facts = self.gather(nodes())
            waited_s = time.monotonic() - started
            if facts.fabric is not None or waited_s > STATUS_S:
                break
            if waited_s > SETTLE_S and not any(node.awaits_status for node in nodes()):
                break
            time.sleep(LOOK_S)
        if (found := culprit(facts)) is not None:
            raise found.error() from error

    def gather(self, nodes: Iterable[NodeProcess]) -> Facts:
        unreachable: str | None = None
        found: list[NodeFacts] = []
        for node in nodes:
            try:
                found.append(node.facts())
            except NoEngine as error:
                unreachable = str(error)
        return Facts(
            fabric=self._network.died(),
            containers=unreachable,
            helpers=self._helpers_ended(),
            nodes=found,
            out_of_memory=oom_kills() > self._oom_kills,
        )


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Processes that the kernel has killed for want of memory so far (proc(5)); 0 where it does not say."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
