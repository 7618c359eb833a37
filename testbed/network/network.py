"""The emulated network of one run: nodes, a fabric between them, and the proof that its links are as specified.

Bring-up: namespaces, fabric without delay, measurement of the path as it is (two hops cost some 0.05 ms), links set
to the topology's one-way delays minus that base, a correction for what the shaper itself adds, and only then a probe of
every directed link that counts. What goes wrong half-way is taken down again. `close` may be called at any moment, and
twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from testbed.errors import BadInput, MachineCannot, TestbedError
from testbed.network import tcproutes
from testbed.network.capabilities import FabricChoice, resolve_fabric
from testbed.network.fabrics import make_fabric
from testbed.network.hosts import MininetHosts
from testbed.network.live.fabric import LiveFabric
from testbed.network.live.replay import Applied, without_base
from testbed.network.measure.basepath import everywhere, one_direction, sample
from testbed.network.measure.probe import (
    CHECK,
    LOOK,
    SPARSE,
    Pace,
    PairSample,
    both_ways,
    clearly_right,
    from_both_ends,
    interval_of,
    probe_links,
)
from testbed.network.measure.terms import Terms
from testbed.network.measure.tolerances import MANY_PAIRS
from testbed.network.names import hosts_text
from testbed.network.spec.fabric import Counters, Fabric, FabricDied, FabricName, Link, Pair, Port
from testbed.network.spec.schedule import LinkSchedule
from testbed.network.spec.topology import Topology, specified_links
from testbed.system.broughtup import BroughtUp
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal

BASE_PROBES = 30  # a pair; their median is stable to some microseconds, more would only delay every start
CHECK_PROBES = 40  # a link, and so many more in small networks that all together have a 99th percentile
CHECK_PROBES_TOGETHER = 200
WAKE_UP_LIMIT_MS = 0.5
SETTLE_S = 0.4  # after something failed, until everything that died has been found dead
LOOK_S = 0.02
# Of a pair that will carry no message, where there are MANY_PAIRS. Lateness only makes a link look longer, so few are
# enough to find one right; one that they do not find right gets as many more as its median needs to be true.
FEWEST_PROBES, IDLE_PAIR_PROBES = 3, 10


class Network(BroughtUp):
    """`placement` says in which region each node stands; several may share one (its intra-site RTT applies).

    `used` are the directed links that will carry messages; not given: all may.

    `pids` names nodes that have a network namespace already, such as containers, by any process in it; for the others
    one is made. All are Mininet hosts. `live`: links are to change on time while a run goes on (`replay`). `watch`
    raises when something that the nodes live on has died: called whenever the network looks for its own parts. `clock`:
    the page of the run's clock, which takes `dilation` of the machine's time; None: the machine's. All delays here are
    in its time. `quick`: the links are set by one measurement instead of two, and checked by fewer probes, of which the
    medians are judged alone. `names`: a file for names that resolve in the nodes' own programs; None: none do.
    """

    def __init__(
        self,
        topology: Topology,
        placement: Mapping[str, str],
        fabric: FabricChoice | tuple[FabricName, str],
        run_id: str,
        journal: Journal,
        pids: Mapping[str, int] | None = None,
        used: Collection[Pair] | None = None,
        live: bool = False,
        watch: Callable[[], None] = lambda: None,
        clock: str | None = None,
        dilation: float = 1.0,
        quick: bool = False,
        names: Path | None = None,
    ) -> None:
        if len(placement) < 2:
            raise BadInput(f"place: a network needs two nodes or more, got {len(placement)}")
        self.topology = topology
        self.placement = dict(placement)
        self.links = specified_links(topology, placement)
        self.fabric_name, self.fabric_reason = resolve_fabric(fabric) if isinstance(fabric, str) else fabric
        self._quick = quick
        self._names = names
        self.hosts = MininetHosts(run_id, journal, names)
        self._journal = journal
        self.ports: list[Port] = []
        self.samples: list[PairSample] = []  # of the latest probe
        self.base_one_way_ms: dict[Pair, float] = {}
        self._pids = dict(pids or {})
        self.clock = clock
        self._dilation = dilation
        self._watch = watch
        many = used is not None and len(self.links) > MANY_PAIRS
        self._used = frozenset(way for pair in used or () for way in (pair, pair[::-1])) if many else None
        self._live = LiveFabric(self.fabric_name, run_id, journal, clock, dilation) if live else None
        self._fabric: Fabric = self._live or make_fabric(self.fabric_name, run_id, journal, clock, dilation)

    def address(self, node: str) -> str:
        return self._port(node).address

    @property
    def addresses(self) -> dict[str, str]:
        """Of every node, by name."""
        return {node: node_address(index) for index, node in enumerate(self.placement)}

    def pid(self, node: str) -> int:
        """A process in the node's namespace."""
        return self._port(node).pid

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
        """Changes links as scheduled, from `start_ns` of the run's clock on. Nothing else may until `stop_replay`."""
        if self._live is None:
            raise RuntimeError("this network was brought up without changing links")
        self._live.replay(schedule, self.base_one_way_ms, start_ns)

    def stop_replay(self) -> list[Applied]:
        """Stops between two steps and leaves the links as they are: `change` or `shape` must come next."""
        if self._live is None:
            raise RuntimeError("this network was brought up without changing links")
        return self._live.stop_replay()

    def probe(
        self, count: int = CHECK_PROBES, enough: int | None = None, sparse: bool = False, again: bool = False
    ) -> list[PairSample]:
        """Measures every directed link against the links in force, and keeps the result in `samples`.

        Each gets `count` probes, or fewer where it is one of many that carry no message. With `enough`, first so many;
        the rest are sent only over those pairs whose first were not flawless, and all count then. `sparse`: over a
        longer time. `again`: of many that carry no message, and were measured before, a few of each node.
        """
        pace = SPARSE if sparse else CHECK
        specified, slowest_bps = self._specified()
        terms = Terms.of(self.links)

        def measure(pairs: Sequence[Pair], number: int) -> list[PairSample]:
            return self._probe_links({pair: specified[pair] for pair in pairs}, number, slowest_bps, pace)

        if self._used is None:
            self.samples = _sparing(measure, list(specified), terms.flawless, count, enough)
            return self.samples
        silent = sample(list(self.placement), ()) if again else one_direction(specified)
        idle = {pair: specified[pair] for pair in silent if pair not in self._used}
        looks = self._probe_links(idle, FEWEST_PROBES, slowest_bps, LOOK)
        found = {(one.src, one.dst): one for one in looks}
        if doubtful := [pair for pair, one in found.items() if not clearly_right(one) or terms.reasons([one])]:
            more = self._probe_links({pair: idle[pair] for pair in doubtful}, IDLE_PAIR_PROBES, slowest_bps)
            found |= {(one.src, one.dst): found[one.src, one.dst].with_more(one) for one in more}
        # last, for these count most: then the machine is as awake as it will be
        used = [pair for pair in one_direction(specified) if pair in self._used]
        self.samples = both_ways([*found.values(), *_sparing(measure, used, terms.flawless, count, enough)])
        return self.samples

    def lasts_s(self, count: int) -> float:
        """Wall seconds of `probe(count, again=True)` where nothing looks wrong, on a machine that is free."""
        specified, slowest_bps = self._specified()
        steps: list[tuple[Collection[Pair], int, Pace]] = [(specified, count, CHECK)]
        if self._used is not None:
            used = [pair for pair in one_direction(specified) if pair in self._used]
            idle = [pair for pair in sample(list(self.placement), ()) if pair not in self._used]
            steps = [(idle, FEWEST_PROBES, LOOK), (used, count, CHECK)]
        back_s = max(specified.values(), default=0.0) / 1000
        each_s = [
            number * interval_of(len(pairs), pace, self._dilation, slowest_bps) + back_s
            for pairs, number, pace in steps
        ]
        return sum(each_s) * self._dilation

    def probe_all(self, count: int) -> list[PairSample]:
        """Measures every directed link with `count` probes or more, whether or not it is to carry messages."""
        if self._used is None:
            return self.probe(count)
        specified, slowest_bps = self._specified()
        pairs = {pair: specified[pair] for pair in one_direction(specified)}
        self.samples = both_ways(self._probe_links(pairs, count, slowest_bps))
        return self.samples

    def measure(self, pairs: Sequence[Pair], count: int) -> list[PairSample]:
        """`count` probes over each of these pairs, against the links in force. `samples` stay as they are."""
        specified, slowest_bps = self._specified()
        return self._probe_links({pair: specified[pair] for pair in pairs}, count, slowest_bps)

    def _specified(self) -> tuple[dict[Pair, float], int | None]:
        """The RTT of each pair as it is specified now, and the slowest link's rate."""
        one_way = {(link.src, link.dst): link.one_way_ms for link in self.links}
        rates = [link.rate_bps for link in self.links if link.rate_bps is not None]
        return {(a, b): one_way[a, b] + one_way[b, a] for a, b in one_way}, min(rates, default=None)

    def _probe_sample(self, specified_ms: Mapping[Pair, float], slowest_bps: int | None = None) -> list[PairSample]:
        """Every pair of a small network; of a large one those that will carry messages, and a few more of each node."""
        if self._used is None:
            # half of them from either node, as an echo finds the machine more awake than what starts by itself
            return from_both_ends(self._probe_links(specified_ms, BASE_PROBES // 2, slowest_bps))
        partners = {pair: specified_ms[pair] for pair in sample(list(self.placement), ()) if pair not in self._used}
        found = self._probe_links(partners, IDLE_PAIR_PROBES, slowest_bps)
        return both_ways([*found, *self._probe_used(specified_ms, BASE_PROBES, slowest_bps)])

    def _probe_used(self, specified_ms: Mapping[Pair, float], count: int, slowest_bps: int | None) -> list[PairSample]:
        """Those that count last: then the machine is as awake as it will be."""
        used = {pair: specified_ms[pair] for pair in one_direction(specified_ms) if pair in (self._used or ())}
        return self._probe_links(used, count, slowest_bps)

    def _probe_links(
        self, specified_ms: Mapping[Pair, float], count: int, slowest_bps: int | None, pace: Pace = CHECK
    ) -> list[PairSample]:
        if not specified_ms:
            return []
        return probe_links(
            self.ports,
            specified_ms,
            count,
            journal=self._journal,
            slowest_bps=slowest_bps,
            pace=pace,
            check=self.check,
            clock=self.clock,
            dilation=self._dilation,
        )

    def invalid_reasons(self) -> list[str]:
        """Why the links must not be trusted by the latest probe and the counters so far; empty when they may."""
        reasons = Terms.of(self.links).reasons(self.samples)
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
        """Raises FabricDied when what carries the packets has died, and whatever `watch` raises."""
        if (died := self.died()) is not None:
            raise FabricDied(f"fabric {died}")
        self._watch()

    def _raise_cause(self, error: BaseException | None) -> None:
        """Whatever goes wrong while the fabric, or what the nodes live on, dies is that one's doing; the kernel may
        tell of its end last."""
        if not isinstance(error, Exception) or isinstance(error, FabricDied):
            return
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            try:
                self.check()
            except TestbedError as cause:
                raise cause from error
            time.sleep(LOOK_S)

    def close(self) -> None:
        with taking_down():
            self.hosts.stop_programs()
            self._fabric.detach()
            self.hosts.stop()

    def _bring_up(self) -> None:
        if self._names is not None:
            self._names.write_text(hosts_text(self.addresses))
            self._names.chmod(0o644)  # for programs of other users
        pids = self.hosts.add_all({node: self._pids.get(node) for node in self.placement})
        for index, (node, pid) in enumerate(zip(self.placement, pids, strict=True)):
            self.ports.append(Port(node, index, node_address(index), pid))
        self._fabric.attach(self.ports)
        tcproutes.set_up(self.ports, self._dilation)
        if self._quick:
            self._set_at_once()
            return
        # as often as the check below: on a machine kept busy by probes the path is shorter than the one a run will meet
        pairs = [(link.src, link.dst) for link in self.links]
        measured: dict[Pair, float] = {}
        for one in self._probe_sample(dict.fromkeys(pairs, 0.0)):
            if one.median_ms is None:
                raise MachineCannot(f"fabric {self.fabric_name}: no reply over {one.src} -> {one.dst}")
            measured[one.src, one.dst] = one.median_ms / 2
        self.base_one_way_ms = {pair: max(0.0, base_ms) for pair, base_ms in everywhere(measured, pairs).items()}
        specified = self.links
        self.shape([link.without_chance() for link in specified])
        self._take_off_wake_ups()
        self.shape(specified)
        self.probe(max(CHECK_PROBES, CHECK_PROBES_TOGETHER // len(self.links)))

    def _set_at_once(self) -> None:
        """Takes off the base path and the shaper's waking together, by one measurement with the delays in force."""
        specified = self.links
        self.base_one_way_ms = {(link.src, link.dst): 0.0 for link in specified}
        self.shape([replace(link.without_chance(), rate_bps=None, buffer_bytes=None) for link in specified])
        found: dict[Pair, float] = {}
        for one in self._probe_sample(self._specified()[0]):
            if one.error_ms is None:
                raise MachineCannot(f"fabric {self.fabric_name}: no reply over {one.src} -> {one.dst}")
            found[one.src, one.dst] = one.error_ms / 2
        pairs = [(link.src, link.dst) for link in specified]
        self.base_one_way_ms = {pair: max(0.0, late_ms) for pair, late_ms in everywhere(found, pairs).items()}
        self.shape(specified)
        self.probe(CHECK_PROBES)

    def _take_off_wake_ups(self) -> None:
        """Corrects the base path by what shows only once packets wait: an idle machine wakes its shaper a little late.

        A difference that is not small is left for the check to complain of.
        """
        rated = {(link.src, link.dst) for link in self.links if link.rate_bps is not None}
        specified, slowest_bps = self._specified()
        errors = {(one.src, one.dst): one.error_ms for one in self._probe_sample(specified, slowest_bps)}
        late: dict[Pair, float] = {}
        for (src, dst), there in errors.items():
            back = errors[dst, src]
            if there is None or back is None or {(src, dst), (dst, src)} & rated:
                continue  # its error holds the serialisation at that rate, which is not base path
            # half a round trip, over both ends: an echo finds the machine awake, what starts by itself does not
            late[src, dst] = (there + back) / 4
        for (src, dst), late_ms in everywhere(late, late if self._used is None else specified).items():
            if abs(late_ms) <= WAKE_UP_LIMIT_MS and (src, dst) not in rated and (dst, src) not in rated:
                self.base_one_way_ms[src, dst] = max(0.0, self.base_one_way_ms[src, dst] + late_ms)

    def _port(self, node: str) -> Port:
        found = next((port for port in self.ports if port.node == node), None)
        if found is None:
            raise BadInput(f"network: no node {node!r}; nodes: {', '.join(self.placement)}")
        return found


def _sparing(
    measure: Callable[[Sequence[Pair], int], list[PairSample]],
    pairs: Sequence[Pair],
    flawless: Callable[[list[PairSample]], bool],
    count: int,
    enough: int | None,
) -> list[PairSample]:
    """`count` probes a pair, or `enough` over those where these leave no doubt."""
    first = measure(pairs, min(enough or count, count))
    if enough is None or enough >= count:
        return first
    doubtful = [(one.src, one.dst) for one in first if not flawless([one])]
    more = dict(zip(doubtful, measure(doubtful, count - enough) if doubtful else (), strict=True))
    return [one.with_more(more[pair]) if (pair := (one.src, one.dst)) in more else one for one in first]


def node_address(index: int) -> str:
    """10.77.0.1 for the first node; these addresses only exist inside the nodes' namespaces."""
    return f"10.77.{(index + 1) >> 8}.{(index + 1) & 255}"
