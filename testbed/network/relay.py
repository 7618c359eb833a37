"""The relay fabric: links made by a user-space delay line over TUN devices, for kernels that have no netem.

Starts fast, needs only /dev/net/tun and vanishes with its process (`relay_process`), which this module starts, steers
and ends. Rules kept: it carries out the same plan as the other fabrics, every shape sends the whole state of all links,
and read_back asks the process, not this module.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.errors import MachineCannot, RunInvalid
from testbed.network.fabric import Counters, FabricName, Link, Port
from testbed.network.journal import Journal
from testbed.network.plan import plan_downlinks, plan_uplinks, undelayed

STOP_PATIENCE_S = 2.0
ANSWER_PATIENCE_S = 10.0
NS_PER_US = 1_000
NS_PER_MS = 1_000_000


class RelayFabric:
    """Carries packets between all nodes in one process of its own."""

    name: FabricName = "relay"

    def __init__(self, run_id: str, journal: Journal) -> None:
        self._run_id = run_id  # seeds the losses: one run id, one pattern per link
        self._journal = journal
        self._ports: tuple[Port, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._priority = ""

    def attach(self, ports: Sequence[Port]) -> None:
        self._ports = tuple(ports)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testbed.network.relay_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self._journal.environment},
            start_new_session=True,  # an interrupt at the terminal is the parent's to answer
        )
        self._journal.group(self._process.pid)
        try:
            config = {
                "seed": self._run_id,
                "parent": os.getpid(),
                "ports": [{"node": port.node, "address": port.address, "pid": port.pid} for port in ports],
            }
            self._priority = str(self._ask(config)["priority"])
            self.shape(undelayed(ports))
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        self._ask({"verb": "shape", "links": link_states(self._ports, links)})

    def read_back(self) -> dict[tuple[str, str], float]:
        nodes = [port.node for port in self._ports]
        return {(nodes[src], nodes[dst]): delay / NS_PER_MS for src, dst, delay, _, _ in self._report()["links"]}

    def counters(self) -> Counters:
        report = self._report()
        nodes = [port.node for port in self._ports]
        return Counters(
            matched={(nodes[src], nodes[dst]): delivered for src, dst, _, delivered, _ in report["links"]},
            unmatched=report["unmatched"],
            dropped=report["undelivered"] + sum(dropped for *_, dropped in report["links"]),
        )

    def facts(self) -> dict[str, object]:
        """Also how late packets left so far (`lateness`, in microseconds)."""
        running = self._process is not None
        return {
            "fabric": self.name,
            "kernel": platform.release(),
            "shaper": "user-space delay line over TUN",
            "priority": self._priority,
            "lateness": self._report()["lateness"] if running else None,
        }

    def died(self) -> str | None:
        status = self._process.poll() if self._process else None
        return None if status is None else f"its process ended with status {status}"

    def detach(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):  # its end of file is the order to stop
            with contextlib.suppress(BrokenPipeError):
                if pipe:
                    pipe.close()
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _report(self) -> dict[str, Any]:
        return self._ask({"verb": "report"})

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeError("the relay fabric is not attached")
        with contextlib.suppress(BrokenPipeError):  # then the reply is empty, and says why below
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], ANSWER_PATIENCE_S)[0]:
            raise RunInvalid(f"relay: its process has not answered for {ANSWER_PATIENCE_S:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise MachineCannot(f"relay: its process ended with status {process.wait()}; mend: see its output above")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise MachineCannot(f"relay: {reply['error']}")
        return reply


def link_states(ports: Sequence[Port], links: Sequence[Link]) -> list[tuple[object, ...]]:
    """The plan as the relay's process reads it: source and destination by position, then the fields of LinkState."""
    position = {port.node: index for index, port in enumerate(ports)}
    rates = {(uplink.src, item.dst): item for uplink in plan_uplinks(ports, links) for item in uplink.classes}
    states: list[tuple[object, ...]] = []
    for downlink in plan_downlinks(ports, links, device=lambda port: port.node):
        for leaf in downlink.leaves:
            rate = rates.get((leaf.src, downlink.dst))
            serialiser = (rate.rate_bps, rate.buffer_bytes) if rate else (None, 0)
            pair = (position[leaf.src], position[downlink.dst])
            states.append((*pair, leaf.delay_us * NS_PER_US, leaf.loss, *serialiser, leaf.limit_packets))
    return states
