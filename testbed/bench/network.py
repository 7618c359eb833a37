"""`make bench`, the network: how accurate, how fast and how lossless each fabric's links are on this machine.

Every figure is a function of a fabric's name; a fabric that this machine cannot have is left out, with the reason. Each
makes its own nodes, written down in a journal, and leaves nothing. Goals and rivals' numbers: docs/performance.md.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO

from testbed.bench.measurement import Measurement, of_values
from testbed.containers.removal import remove_named
from testbed.emulation.lock import machine_lock
from testbed.errors import MachineCannot
from testbed.network.capabilities import choose_fabric, probe_capabilities
from testbed.network.fabrics import make_fabric
from testbed.network.hosts import MininetHosts
from testbed.network.measure.probe import PairSample, percentile_99
from testbed.network.netem.plan import undelayed
from testbed.network.network import Network, node_address
from testbed.network.spec.fabric import Fabric, FabricName, Link, Port
from testbed.network.spec.topology import Topology
from testbed.system.journal import Journal

FABRICS: tuple[FabricName, ...] = ("relay", "lab", "netem")
MATRIX_NODES = 16
MANY_NODES = 64
FLOW_S = 3.0
UPDATES = 1000
UPDATE_HZ = 10  # of a replayed series
UPDATE_TRAFFIC_PER_S = 1000


def network_figures(fabrics: Sequence[FabricName] = FABRICS) -> list[Measurement]:
    return of_each(fabrics, fabric_figures)


def of_each(fabrics: Sequence[FabricName], measure: Callable[[FabricName], list[Measurement]]) -> list[Measurement]:
    """Of every fabric that this machine can have, while no emulation runs on it."""
    figures: list[Measurement] = []
    capabilities = probe_capabilities()
    with machine_lock():
        for fabric in fabrics:
            try:
                choose_fabric(fabric, capabilities)
            except MachineCannot as lack:
                print(f"bench: {fabric} is left out: {lack}", file=sys.stderr)
                continue
            figures += measure(fabric)
    return figures


def fabric_figures(fabric: FabricName) -> list[Measurement]:
    with wired(fabric, 2) as two:
        flows = [packets_per_second(two), tcp_throughput(two)]
    with wired(fabric, MATRIX_NODES) as many:
        updates = [update_time(many), updates_lose(many)]
    return [*rtt_errors(fabric), *flows, *updates, bring_up_time(fabric)]


class Wired:
    """Nodes joined by a fabric, with programs in them."""

    def __init__(self, fabric: Fabric, ports: list[Port], hosts: MininetHosts) -> None:
        self.fabric = fabric
        self.ports = ports
        self._hosts = hosts

    @contextlib.contextmanager
    def receiving(self, node: int, verb: str) -> Iterator[IO[str]]:
        """A receiver of `testbed.bench.traffic` at a node, ready; its output."""
        process = self._start(node, verb)
        assert process.stdout is not None
        with process.stdout as output:
            if output.readline() != "ready\n":
                raise MachineCannot(f"bench: the receiver {verb!r} did not start; see its output above")
            yield output

    def sends(self, node: int, verb: str, to: int, *arguments: float) -> subprocess.Popen[str]:
        return self._start(node, verb, self.ports[to].address, *map(str, arguments))

    def _start(self, node: int, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "testbed.bench.traffic", *arguments]
        return self._hosts.popen_at(self.ports[node].pid, argv, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def journalled() -> Iterator[tuple[str, Journal]]:
    """A name and a journal; what was made under them is gone afterwards."""
    run_id = f"b{secrets.token_hex(3)}"
    journal = Journal.for_run(run_id)
    try:
        yield run_id, journal
    finally:
        journal.undo(remove_named)
        journal.close()


@contextlib.contextmanager
def wired(name: FabricName, nodes: int) -> Iterator[Wired]:
    with (
        journalled() as (run_id, journal),
        joined(make_fabric(name, run_id, journal), run_id, journal, dict.fromkeys(node_names(nodes))) as made,
    ):
        yield made


def node_names(count: int) -> list[str]:
    return [f"n{index}" for index in range(count)]


@contextlib.contextmanager
def joined(fabric: Fabric, run_id: str, journal: Journal, nodes: Mapping[str, int | None]) -> Iterator[Wired]:
    """Nodes by name; one that has a network namespace already comes with the pid of a process in it."""
    hosts = MininetHosts(run_id, journal)
    try:
        pids = hosts.add_all(nodes)
        ports = [
            Port(name, index, node_address(index), pid)
            for index, (name, pid) in enumerate(zip(nodes, pids, strict=True))
        ]
        fabric.attach(ports)
        yield Wired(fabric, ports, hosts)
    finally:
        hosts.stop_programs()
        fabric.detach()
        hosts.stop()


def matrix(ports: Sequence[Port], seed: int) -> list[Link]:
    """Every directed link draws its own one-way delay."""
    draw = random.Random(seed)
    return [Link(link.src, link.dst, round(draw.uniform(5, 60), 3)) for link in undelayed(ports)]


def rtt_errors(fabric: FabricName) -> list[Measurement]:
    """Brought up as for a run: base path and wake-ups taken off, then every directed link probed."""
    names = [f"r{index}" for index in range(MATRIX_NODES)]
    with journalled() as (run_id, journal):
        place = {f"n{index}": name for index, name in enumerate(names)}
        with Network(random_topology(names, seed=16), place, fabric, run_id, journal) as network:
            figures = of_samples(fabric, network.samples)
            with updating(network):
                return [*figures, tail(f"{fabric}: the same, links updated at {UPDATE_HZ} Hz", network.probe())]


@contextlib.contextmanager
def updating(network: Network) -> Iterator[None]:
    """Changes every link all the time, by a microsecond."""
    stopping = threading.Event()
    levels = [[replace(link, one_way_ms=link.one_way_ms + ms) for link in network.links] for ms in (0.001, 0.0)]

    def change() -> None:
        for level in itertools.cycle(levels):
            if stopping.wait(1 / UPDATE_HZ):
                return
            network.change(level)

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        try:
            yield
        finally:
            stopping.set()
        changing.result()  # raises what a change raised


def random_topology(names: Sequence[str], seed: int) -> Topology:
    draw = random.Random(seed)
    figures = {a: {b: round(draw.uniform(10, 120), 3) for b in names if b != a} for a in names}
    return Topology.model_validate(
        {
            "name": "random",
            "description": "an asymmetric matrix of random delays",
            "source": {"citation": f"uniform from 10 to 120 ms, seed {seed}", "licence": "Apache-2.0"},
            "measured_on": "2026-01-01",
            "regions": [{"name": name, "provider": "none"} for name in names],
            "intra_site_rtt_ms": 1.0,
            "rtt_ms": figures,
        },
        strict=False,  # the date is text here, as in a file
    )


def of_samples(fabric: FabricName, samples: Sequence[PairSample]) -> list[Measurement]:
    medians = [abs(one.error_ms) for one in samples if one.error_ms is not None]
    if len(medians) < len(samples):
        raise MachineCannot(f"bench: {fabric}: nothing came back over {len(samples) - len(medians)} pairs")
    said = f"{len(samples)} pairs of {MATRIX_NODES} nodes, random delays; Celestial's data: 1.01 ms"
    median = of_values(f"{fabric}: error of a pair's median RTT", "ms", medians, said)
    return [median, tail(f"{fabric}: RTT error, 99th percentile", samples)]


def tail(name: str, samples: Sequence[PairSample]) -> Measurement:
    """Over the probes of all pairs together."""
    errors = [abs(rtt_ms - one.specified_ms) for one in samples for rtt_ms in one.rtts_ms]
    p99 = percentile_99(errors)
    if p99 is None:
        raise MachineCannot(f"bench: {name}: only {len(errors)} probes came back")
    said = (
        f"[median, largest] of {len(errors)} probes ({sum(one.sent for one in samples)} sent); Celestial's data: 2.4 ms"
    )
    return Measurement(name, p99, "ms", statistics.median(errors), max(errors), said)


def packets_per_second(two: Wired, repeats: int = 5) -> Measurement:
    """Delivered while one sender offers what it can."""
    offered: list[float] = []

    def once() -> float:
        sender = two.sends(0, "flood", 1, FLOW_S)
        time.sleep(FLOW_S / 4)
        before, start = delivered(), time.monotonic()
        time.sleep(FLOW_S / 2)
        after, end = delivered(), time.monotonic()
        offered.append(int(sender.communicate()[0]) / FLOW_S)
        return (after - before) / (end - start)

    def delivered() -> int:
        return two.fabric.counters().matched[two.ports[0].node, two.ports[1].node]

    two.fabric.shape(undelayed(two.ports))
    with two.receiving(1, "sink"):
        values = [once() for _ in range(repeats)]
    said = f"64 bytes, of {statistics.median(offered):.0f} that one sender offered"
    return of_values(f"{two.fabric.name}: small packets", "packets/s", values, said)


def tcp_throughput(two: Wired, repeats: int = 3) -> Measurement:
    def once() -> float:
        with two.receiving(1, "receive") as output:
            two.sends(0, "send", 1, FLOW_S).communicate()
            return float(output.readline()) / 1e6

    two.fabric.shape(undelayed(two.ports))
    algorithm = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    values = [once() for _ in range(repeats)]
    return of_values(
        f"{two.fabric.name}: one TCP flow", "Mbit/s", values, f"MTU 1500, {algorithm}, no delay; mahimahi: 300 to 700"
    )


def update_time(many: Wired, repeats: int = 60) -> Measurement:
    """From the call to its return: every link of the full matrix in force."""
    matrices = [matrix(many.ports, seed) for seed in (1, 2)]
    values = []
    for index in range(repeats):
        start = time.perf_counter()
        many.fabric.change(matrices[index % 2])
        values.append((time.perf_counter() - start) * 1e3)
    name = f"{many.fabric.name}: update of {len(matrices[0])} links"
    return of_values(name, "ms", values, "one tc or pyroute2 call a leaf: 300 ms and more")


def updates_lose(many: Wired) -> Measurement:
    """Packets that do not arrive while all links change again and again."""
    matrices = [matrix(many.ports, seed) for seed in (1, 2)]
    many.fabric.change(matrices[0])
    with many.receiving(1, "collect") as output:
        sender = many.sends(0, "number", 1, UPDATES / 100, UPDATE_TRAFFIC_PER_S)
        for index in range(UPDATES):
            many.fabric.change(matrices[index % 2])
            time.sleep(0.005)
        sent = int(sender.communicate()[0])
        arrived, overtaken = map(int, output.readline().split())
    said = f"of {sent} during {UPDATES} full updates; {overtaken} overtaken; delete and add: all in flight"
    return Measurement(
        f"{many.fabric.name}: lost by updates", sent - arrived, "packets", sent - arrived, sent - arrived, said
    )


def bring_up_time(fabric: FabricName) -> Measurement:
    """Nodes, attachment and a full asymmetric matrix; without the probes that a run makes before it starts."""
    start = time.monotonic()
    with wired(fabric, MANY_NODES) as many:
        many.fabric.shape(matrix(many.ports, seed=64))
        took_s = time.monotonic() - start
    compared = f"{MANY_NODES * (MANY_NODES - 1)} links; Mininet with TCLink, 64 hosts in a row: 75 s"
    return Measurement(f"{fabric}: {MANY_NODES} nodes up", took_s, "s", took_s, took_s, compared)
