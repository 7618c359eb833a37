"""The emulated network of one run: nodes, a fabric between them, and the proof that its links are as specified.

Bring-up: namespaces, fabric without delay, measurement of the path as it is (two hops cost some 0.05 ms), links set
to the topology's one-way delays minus that base, a correction for what the shaper itself adds, and only then a probe of
every directed link that counts. What goes wrong half-way is taken down again. `close` may be called at any moment, and
twice.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from testbed.errors import BadInput, MachineCannot
from testbed.network import congestion
from testbed.network.capabilities import FabricChoice, resolve_fabric
from testbed.network.fabrics import make_fabric
from testbed.network.hosts import MininetHosts
from testbed.network.live.fabric import LiveFabric
from testbed.network.live.replay import Applied, without_base
from testbed.network.measure.probe import PairSample, probe_links, verify
from testbed.network.measure.roundtrips import Leg, burst_share, expected
from testbed.network.measure.tolerances import MANY_PAIRS
from testbed.network.spec.fabric import Counters, Fabric, FabricDied, Link, Pair, Port
from testbed.network.spec.schedule import LinkSchedule
from testbed.network.spec.topology import Topology, specified_links
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal

BASE_PROBES = 30  # their median is stable to some microseconds; more would only delay every start
CHECK_PROBES = 40  # per pair at bring-up, and so many more in small networks that all together have a 99th percentile
CHECK_PROBES_TOGETHER = 200
WAKE_UP_LIMIT_MS = 0.5
SETTLE_S = 0.4  # after something failed, until everything that died has been found dead
LOOK_S = 0.02
# Of a pair that will carry no message, where there are MANY_PAIRS; of tens of thousands, so many that their medians
# stay true where one probe in a hundred is late.
IDLE_PAIR_PROBES, LEAST_PROBES = 10, 7
IDLE_PROBES_TOGETHER = 40_000  # half a minute


class Network:
    """`placement` says in which region each node stands; several may share one (its intra-site RTT applies).

    `used` are the directed links that will carry messages; not given: all may.

    `pids` names nodes that have a network namespace already, such as containers, by any process in it; for the others
    one is made. All are Mininet hosts. `live`: links are to change on time while a run goes on (`replay`).
    """

    def __init__(
        self,
        topology: Topology,
        placement: Mapping[str, str],
        fabric: FabricChoice,
        run_id: str,
        journal: Journal,
        pids: Mapping[str, int] | None = None,
        used: Collection[Pair] | None = None,
        live: bool = False,
    ) -> None:
        if len(placement) < 2:
            raise BadInput(f"place: a network needs two nodes or more, got {len(placement)}")
        self.topology = topology
        self.placement = dict(placement)
        self.links = specified_links(topology, placement)
        self.fabric_name, self.fabric_reason = resolve_fabric(fabric)
        self.hosts = MininetHosts(run_id, journal)
        self._journal = journal
        self.ports: list[Port] = []
        self.samples: list[PairSample] = []  # of the latest probe
        self.base_one_way_ms: dict[Pair, float] = {}
        self._pids = dict(pids or {})
        self._used = None if used is None or len(self.links) <= MANY_PAIRS else frozenset(used)
        self._live = LiveFabric(self.fabric_name, run_id, journal) if live else None
        self._fabric: Fabric = self._live or make_fabric(self.fabric_name, run_id, journal)

    def __enter__(self) -> Self:
        try:
            self._bring_up()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(value)

    def _end(self, error: BaseException | None) -> None:
        """Takes everything down; raises what `error` is a consequence of, found while all still is as it was."""
        try:
            self._raise_cause(error)
        finally:
            self.close()

    def address(self, node: str) -> str:
        return self._port(node).address

    def popen(self, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """A program at a node: see `MininetHosts.popen_at`."""
        return self.hosts.popen_at(self._port(node).pid, argv, **options)

    def shape(self, links: Sequence[Link]) -> None:
        """Makes all links as given (what a packet is to experience, base path included). Keeps packets in flight."""
        self._fabric.shape([without_base(link, self.base_one_way_ms) for link in links])
        self.links = list(links)

    def change(self, links: Sequence[Link]) -> None:
        """Makes these links as given, whole, and leaves the others. Keeps packets in flight."""
        self._fabric.change([without_base(link, self.base_one_way_ms) for link in links])
        changed = {(link.src, link.dst): link for link in links}
        self.links = [changed.get((link.src, link.dst), link) for link in self.links]

    def require(self, links: Sequence[Link]) -> None:
        """BadInput for a link that is shorter than the bare path."""
        for link in links:
            without_base(link, self.base_one_way_ms)

    def replay(self, schedule: LinkSchedule, start_ns: int) -> None:
        """Changes links as scheduled, from `start_ns` (CLOCK_MONOTONIC) on. Nothing else may until `stop_replay`."""
        if self._live is None:
            raise RuntimeError("this network was brought up without changing links")
        self._live.replay(schedule, self.base_one_way_ms, start_ns)

    def stop_replay(self) -> list[Applied]:
        """Stops between two steps and leaves the links as they are: `change` or `shape` must come next."""
        if self._live is None:
            raise RuntimeError("this network was brought up without changing links")
        return self._live.stop_replay()

    def probe(self, count: int = CHECK_PROBES) -> list[PairSample]:
        """Measures every directed link against the links in force, and keeps the result in `samples`.

        Each gets `count` probes, or fewer where it is one of many that carry no message.
        """
        one_way = {(link.src, link.dst): link.one_way_ms for link in self.links}
        specified = {(a, b): one_way[a, b] + one_way[b, a] for a, b in one_way}
        rates = [link.rate_bps for link in self.links if link.rate_bps is not None]
        self.samples = self._measure(specified, count, min(rates, default=None))
        return self.samples

    def _measure(
        self, specified_ms: Mapping[Pair, float], count: int, slowest_bps: int | None = None
    ) -> list[PairSample]:
        """Those that count last: then the machine is as awake as it will be.

        Pairs that will carry no message are probed in one direction, and known in both from packet and echo.
        """
        if self._used is None:
            return self._probe_links(specified_ms, count, slowest_bps)
        idle = {pair: ms for pair, ms in specified_ms.items() if pair not in self._used}
        used = {pair: ms for pair, ms in specified_ms.items() if pair in self._used}
        samples = []
        if idle:
            one_way = {pair: ms for pair, ms in idle.items() if pair[::-1] not in idle or pair[0] < pair[1]}
            few = max(LEAST_PROBES, min(IDLE_PAIR_PROBES, IDLE_PROBES_TOGETHER // len(one_way)))
            there = {(one.src, one.dst): one for one in self._probe_links(one_way, min(count, few), slowest_bps)}
            samples = [there[pair] if pair in there else there[pair[::-1]].seen_from_there() for pair in idle]
        return samples + (self._probe_links(used, count, slowest_bps) if used else [])

    def _probe_links(self, specified_ms: Mapping[Pair, float], count: int, slowest_bps: int | None) -> list[PairSample]:
        mark = self._journal.environment
        return probe_links(self.ports, specified_ms, count, mark=mark, slowest_bps=slowest_bps)

    def invalid_reasons(self) -> list[str]:
        """Why the links must not be trusted by the latest probe and the counters so far; empty when they may."""
        losing = [(link.src, link.dst) for link in self.links if link.loss or link.burst_loss is not None]
        lossy = {(a, b) for src, dst in losing for a, b in ((src, dst), (dst, src))}
        jitter = {(link.src, link.dst): link.jitter_ms for link in self.links}
        jitter_ms = {(a, b): own + jitter[b, a] for (a, b), own in jitter.items()}
        legs = {(link.src, link.dst): leg_of(link) for link in self.links}
        laws = {
            (one.src, one.dst): expected(legs[one.src, one.dst], legs[one.dst, one.src], one.sent)
            for one in self.samples
            if not (legs[one.src, one.dst].plain and legs[one.dst, one.src].plain)
        }
        reasons = verify(self.samples, lossy, jitter_ms, laws)
        if unmatched := self.counters().unmatched:
            reasons.append(f"network: {unmatched} packets belong to no link; there must be none")
        return reasons

    def counters(self) -> Counters:
        return self._fabric.counters()

    def read_back(self) -> dict[Pair, float]:
        """One-way delay in ms that the fabric itself reports for each pair: the link's minus the base path's."""
        return self._fabric.read_back()

    def facts(self) -> dict[str, object]:
        return {
            "fabric": self.fabric_name,
            "fabric_reason": self.fabric_reason,
            "base_one_way_ms": {f"{a} -> {b}": round(value, 4) for (a, b), value in self.base_one_way_ms.items()},
            **self.hosts.facts(),
            **self._fabric.facts(),
        }

    def died(self) -> str | None:
        """The fabric's name and how it died; None while it carries packets."""
        died = self._fabric.died()
        return None if died is None else f"{self.fabric_name}: {died}"

    def check(self) -> None:
        """Raises FabricDied when what carries the packets has died."""
        if (died := self.died()) is not None:
            raise FabricDied(f"fabric {died}")

    def _raise_cause(self, error: BaseException | None) -> None:
        """Whatever goes wrong while the fabric dies is the fabric's doing; the kernel may tell of its end last."""
        if not isinstance(error, Exception) or isinstance(error, FabricDied):
            return
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            if (died := self.died()) is not None:
                raise FabricDied(f"fabric {died}") from error
            time.sleep(LOOK_S)

    def close(self) -> None:
        with taking_down():
            self.hosts.stop_programs()
            self._fabric.detach()
            self.hosts.stop()

    def _bring_up(self) -> None:
        for index, node in enumerate(self.placement):
            pid = self.hosts.add(node, self._pids.get(node))
            self.ports.append(Port(node, index, node_address(index), pid))
        self._fabric.attach(self.ports)
        congestion.pin(port.pid for port in self.ports)
        # as often as the check below: on a machine kept busy by probes the path is shorter than the one a run will meet
        base = self._measure({(link.src, link.dst): 0.0 for link in self.links}, BASE_PROBES)
        for sample in base:
            if sample.median_ms is None:
                raise MachineCannot(f"fabric {self.fabric_name}: no reply over {sample.src} -> {sample.dst}")
            self.base_one_way_ms[sample.src, sample.dst] = sample.median_ms / 2
        specified = self.links
        self.shape([replace(link, jitter_ms=0.0, reorder=0.0, loss=0.0, burst_loss=None) for link in specified])
        self._take_off_wake_ups()
        self.shape(specified)
        self.probe(max(CHECK_PROBES, CHECK_PROBES_TOGETHER // len(self.links)))

    def _take_off_wake_ups(self) -> None:
        """Corrects the base path by what shows only once packets wait: an idle machine wakes its shaper a little late.

        A difference that is not small is left for the check to complain of.
        """
        rated = {(link.src, link.dst) for link in self.links if link.rate_bps is not None}
        errors = {(sample.src, sample.dst): sample.error_ms for sample in self.probe(BASE_PROBES)}
        for (src, dst), there in errors.items():
            back = errors[dst, src]
            if there is None or back is None or {(src, dst), (dst, src)} & rated:
                continue  # a rate's own serialisation is no part of the base path
            # half a round trip, over both ends: an echo finds the machine awake, what starts by itself does not
            late_ms = (there + back) / 4
            if abs(late_ms) <= WAKE_UP_LIMIT_MS:
                self.base_one_way_ms[src, dst] = max(0.0, self.base_one_way_ms[src, dst] + late_ms)

    def _port(self, node: str) -> Port:
        found = next((port for port in self.ports if port.node == node), None)
        if found is None:
            raise BadInput(f"network: no node {node!r}; nodes: {', '.join(self.placement)}")
        return found


def leg_of(link: Link) -> Leg:
    """The link as probes meet it."""
    loss, memory = link.loss, 1.0
    if (burst := link.burst_loss) is not None:
        loss, memory = burst_share(burst.p, burst.r, burst.loss_bad, burst.loss_good)
    return Leg(link.one_way_ms, link.jitter_ms, link.reorder, link.rate_bps, loss, memory)


def node_address(index: int) -> str:
    """10.77.0.1 for the first node; these addresses only exist inside the nodes' namespaces."""
    return f"10.77.{(index + 1) >> 8}.{(index + 1) & 255}"
