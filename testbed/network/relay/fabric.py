"""The relay fabric: links made by a user-space delay line over TUN devices, for kernels that have no netem.

Starts fast, needs only /dev/net/tun and vanishes with its process (`testbed.network.relay.process`), which this module
starts, steers and ends. Rules kept: it carries out the same plan as the other fabrics, every update sends the whole
state of the links it names, and read_back asks the process, not this module.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.errors import MachineCannot, RunInvalid
from testbed.network.netem.plan import check_links, limit_packets, rate_buffer_bytes, undelayed
from testbed.network.spec.fabric import Counters, FabricDied, FabricName, Link, Port
from testbed.system.helper import HelperEnded, HelperProcess, HelperSilent
from testbed.system.journal import Journal
from testbed.system.netns import device_drops
from testbed.system.units import NS_PER_MS, NS_PER_US

STOP_PATIENCE_S = 2.0
ANSWER_PATIENCE_S = 10.0
PORT_PATIENCE_S = 0.2  # longer for each port: a device in each namespace, on a machine that is busy
MESSAGE_LINKS = 64  # of one message: packets wait while the process decodes it, 0.02 to 0.15 ms


class RelayFabric:
    """Carries packets between all nodes in its own process."""

    name: FabricName = "relay"

    def __init__(self, run_id: str, journal: Journal, clock: str | None = None) -> None:
        self._clock = clock
        self._run_id = run_id  # seeds what is left to chance: one run id, one pattern per link
        self._journal = journal
        self._ports: tuple[Port, ...] = ()
        self._helper: HelperProcess | None = None
        self._priority = ""

    def attach(self, ports: Sequence[Port]) -> None:
        self._ports = tuple(ports)
        self._helper = HelperProcess("testbed.network.relay.process", journal=self._journal)
        try:
            config = {
                "seed": self._run_id,
                "clock": self._clock,
                "parent": os.getpid(),
                "ports": [{"node": port.node, "address": port.address, "pid": port.pid} for port in ports],
            }
            self._priority = str(self._ask(config)["priority"])
            self.shape(undelayed(ports))
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        self._ask_all(update_requests(link_rows(self._ports, links)))

    def change(self, links: Sequence[Link]) -> None:
        self.prepare(links)()

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        requests = update_requests(link_rows(self._ports, links, complete=False))

        def bring_into_force() -> None:
            self._ask_all(requests)

        return bring_into_force

    def read_back(self) -> dict[tuple[str, str], float]:
        return {pair: delay_ns / NS_PER_MS for pair, (delay_ns, *_) in self._links().items()}

    def counters(self) -> Counters:
        links, totals = self._links(), self._ask({"verb": "totals"})
        # a burst beyond the device's queue, or the kernel's own, never reaches the process
        outside = sum(device_drops(port.pid, "eth0") for port in self._ports)
        return Counters(
            matched={pair: delivered for pair, (_, delivered, _, _, _) in links.items()},
            unmatched=totals["unmatched"],
            dropped=outside + totals["undelivered"] + sum(dropped for _, _, dropped, _, _ in links.values()),
            lost=sum(lost for _, _, _, lost, _ in links.values()),
            cut=sum(cut for *_, cut in links.values()),
        )

    def facts(self) -> dict[str, object]:
        """Also how late packets left so far (`lateness`), and the longest they waited because something was asked."""
        totals = self._ask({"verb": "totals"}) if self._helper else {}
        return {
            "fabric": self.name,
            "kernel": platform.release(),
            "shaper": "user-space delay line over TUN",
            "priority": self._priority,
            "lateness": totals.get("lateness"),
            "longest_pause_us": totals.get("longest_pause_us"),
        }

    def died(self) -> str | None:
        ended = self._helper.ended() if self._helper else None
        return None if ended is None else f"its process {ended}"

    def detach(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.end(STOP_PATIENCE_S)

    def _links(self) -> dict[tuple[str, str], Sequence[int]]:
        """What the process says of every pair; one node at a time, so that no packet waits for a long answer."""
        nodes = [port.node for port in self._ports]
        requests = [request_line({"verb": "links", "source": source}) for source in range(len(nodes))]
        return {
            (src, dst): fields
            for src, reply in zip(nodes, self._ask_all(requests), strict=True)
            for dst, fields in zip(nodes, reply["links"], strict=True)
            if src != dst
        }

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        return self._ask_all([request_line(request)])[0]

    def _ask_all(self, requests: Sequence[bytes]) -> list[dict[str, Any]]:
        """The replies; the requests are written together, so that the process never waits for the next."""
        if self._helper is None:
            raise RuntimeError("the relay fabric is not attached")
        try:
            self._helper.send(b"".join(requests))
            lines = self._helper.lines(len(requests), ANSWER_PATIENCE_S + PORT_PATIENCE_S * len(self._ports))
        except HelperSilent as silent:
            raise RunInvalid(f"relay: its process {silent}") from None
        except HelperEnded as end:
            raise FabricDied(f"fabric relay: {end}") from None
        replies = [json.loads(line) for line in lines]
        for reply in replies:
            if "error" in reply:
                raise MachineCannot(f"relay: {reply['error']}")
        return replies


def request_line(request: Mapping[str, object]) -> bytes:
    """A request as the relay's process reads it."""
    return json.dumps(request).encode() + b"\n"


def update_requests(rows: Sequence[list[object]]) -> list[bytes]:
    """The requests that give these links their state."""
    firsts = range(0, len(rows), MESSAGE_LINKS)
    return [request_line({"verb": "update", "links": rows[first : first + MESSAGE_LINKS]}) for first in firsts]


def link_rows(ports: Sequence[Port], links: Sequence[Link], complete: bool = True) -> list[list[object]]:
    """The links as the relay's process reads them (`switch.Row`), by the same plan as the other fabrics."""
    position = {port.node: index for index, port in enumerate(ports)}
    rows: list[list[object]] = []
    for (src, dst), link in check_links(ports, links, complete).items():
        delay_ns, jitter_ns = round(link.one_way_ms * NS_PER_MS), round(link.jitter_ms * NS_PER_MS)
        limit = limit_packets(link.rate_bps, (delay_ns + jitter_ns) // NS_PER_US)
        row: list[object] = [position[src], position[dst], delay_ns, limit]
        if link.rate_bps is not None or link.by_chance or not link.up:
            chances = chances_row(link, jitter_ns) if link.by_chance else None
            row += [link.rate_bps, rate_buffer_bytes(link), chances, link.up]
        rows.append(row)
    return rows


def chances_row(link: Link, jitter_ns: int) -> list[object]:
    """The fields of `testbed.network.relay.impair.Chances`."""
    burst = link.burst_loss
    chain = None if burst is None else [burst.p, burst.r, burst.loss_bad, burst.loss_good]
    return [link.loss, chain, link.reorder, jitter_ns]
