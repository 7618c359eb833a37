"""The program of `testbed.bench.star`: both stars, one after the other, on the kernel it started on; figures as JSON.

A star can only have delays that are sums of one figure per node, so that is what both are given. Mininet's is of plain
TCLinks, as its documentation shows them.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from testbed.bench.measurement import Measurement, of_values
from testbed.errors import MachineCannot
from testbed.network.hosts import MininetHosts, enter
from testbed.network.measure.probe import PairSample, percentile_99, probe_links
from testbed.network.netem.fabric import NetemFabric
from testbed.network.spec.fabric import Link, Port
from testbed.system.journal import Journal

NODES = 6
PROBES = 40
UPDATES = 5
STREAM_S, STREAM_PER_S = 20.0, 100
ADDRESS = "10.77.0.{}"

Cables = Mapping[str, float]  # one-way delay in ms between a node and the middle of the star


def cables(seed: int) -> dict[str, float]:
    draw = random.Random(seed)
    return {f"n{index}": float(draw.randint(5, 30)) for index in range(NODES)}


def round_trips(of: Cables, ports: Sequence[Port]) -> dict[tuple[str, str], float]:
    return {(a.node, b.node): 2 * (of[a.node] + of[b.node]) for a in ports for b in ports if a != b}


class Ours:
    """A fabric `netem` whose matrix is the star's sums."""

    name = "fabric netem"

    def __init__(self, run_id: str, journal: Journal) -> None:
        self.hosts = MininetHosts(run_id, journal)
        self._fabric = NetemFabric(run_id, journal)
        self.ports: list[Port] = []

    def start(self, of: Cables) -> None:
        self.ports = [
            Port(node, index, ADDRESS.format(index + 1), self.hosts.add(node)) for index, node in enumerate(of)
        ]
        self._fabric.attach(self.ports)
        self.update(of)

    def update(self, of: Cables) -> None:
        self._fabric.change([Link(a, b, of[a] + of[b]) for a in of for b in of if a != b])

    def stop(self) -> None:
        self.hosts.stop_programs()
        self._fabric.detach()
        self.hosts.stop()


class MininetStar:
    """Hosts on TCLinks to a node with a bridge in the kernel; nothing of Open vSwitch."""

    name = "Mininet TCLink star"

    def __init__(self, run_id: str, journal: Journal) -> None:
        self.hosts = MininetHosts(run_id, journal)
        self.ports: list[Port] = []
        self._links: dict[str, Any] = {}  # Mininet carries no types

    def start(self, of: Cables) -> None:
        from mininet.link import TCLink

        middle = self.hosts.add("middle")
        _inside(middle, "ip", "link", "add", "name", "br0", "up", "type", "bridge")
        for index, node in enumerate(of):
            pid = self.hosts.add(node)
            names = {"intfName1": "eth0", "intfName2": f"port{index}"}
            link = TCLink(self.hosts.host(node), self.hosts.host("middle"), delay=f"{of[node]}ms", **names)
            self._links[node] = link
            self.ports.append(Port(node, index, ADDRESS.format(index + 1), pid))
            _inside(middle, "ip", "link", "set", link.intf2.name, "master", "br0", "up")
            _inside(pid, "ip", "addr", "add", f"{self.ports[-1].address}/24", "dev", link.intf1.name)
        for a in self.ports:
            for b in self.ports:
                if a != b:
                    there = ("dev", self._links[a.node].intf1.name, "lladdr", self._links[b.node].intf1.updateMAC())
                    _inside(a.pid, "ip", "neigh", "replace", b.address, *there, "nud", "permanent")

    def update(self, of: Cables) -> None:
        for node, link in self._links.items():
            for end in (link.intf1, link.intf2):
                end.config(delay=f"{of[node]}ms")

    def stop(self) -> None:
        self.hosts.stop()


def _inside(pid: int, *argv: str) -> None:
    done = subprocess.run(enter(pid, argv), capture_output=True, text=True)
    if done.returncode:
        raise MachineCannot(f"bench: {' '.join(argv)} failed: {' '.join(done.stderr.split())}; see testbed doctor")


def measure(star: Ours | MininetStar) -> list[Measurement]:
    first, second = cables(1), cables(2)
    started = time.monotonic()
    star.start(first)
    up_s = time.monotonic() - started
    samples = probe_links(star.ports, round_trips(first, star.ports), PROBES)
    took_ms: list[float] = []

    def update(index: int) -> None:
        start = time.perf_counter()
        star.update((first, second)[index % 2])
        took_ms.append((time.perf_counter() - start) * 1e3)

    lost = lost_meanwhile(star, update)
    star.stop()
    links = NODES * (NODES - 1)
    return [
        Measurement(f"{star.name}: {NODES} nodes up", up_s, "s", up_s, up_s, "nodes and shaped links"),
        *_errors(star.name, samples),
        of_values(f"{star.name}: all delays changed", "ms", took_ms, f"{links} pairs; {UPDATES} times"),
        Measurement(
            f"{star.name}: lost by {UPDATES} updates", lost, "packets", lost, lost, f"{STREAM_PER_S} packets/s"
        ),
    ]


def _errors(name: str, samples: Sequence[PairSample]) -> list[Measurement]:
    """The base path is in them, as both have one and only a run takes it off."""
    medians = [sample.error_ms for sample in samples if sample.error_ms is not None]
    errors = [rtt_ms - sample.specified_ms for sample in samples for rtt_ms in sample.rtts_ms]
    p99 = percentile_99(errors)
    if len(medians) < len(samples) or p99 is None:
        raise MachineCannot(f"bench: {name}: nothing came back over {len(samples) - len(medians)} pairs")
    return [
        of_values(f"{name}: error of a pair's median RTT", "ms", medians, "base path included"),
        Measurement(f"{name}: RTT error, 99th percentile", p99, "ms", statistics.median(errors), max(errors),
               "[median, largest] of all probes"),
    ]  # fmt: skip


def lost_meanwhile(star: Ours | MininetStar, update: Callable[[int], None]) -> float:
    """Packets of one pair that do not arrive while all delays change, evenly over the stream's time."""

    def program(at: Port, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "testbed.bench.traffic", *arguments]
        return star.hosts.popen_at(at.pid, argv, stdout=subprocess.PIPE, text=True)

    one, other = star.ports[:2]
    receiver = program(other, "collect")
    assert receiver.stdout is not None
    receiver.stdout.readline()
    sender = program(one, "number", other.address, str(STREAM_S), str(STREAM_PER_S))
    start = time.monotonic()
    for index in range(UPDATES):
        time.sleep(max(0.0, start + index * STREAM_S / UPDATES - time.monotonic()))
        update(index)
    sent = int(sender.communicate()[0])
    arrived, _ = map(int, receiver.communicate()[0].split())
    return sent - arrived


def main() -> None:
    """The program inside."""
    figures: list[Measurement] = []
    for make in (Ours, MininetStar):
        print(f"measuring {make.name}", flush=True)  # also says that it lives
        figures += measure(make("star", Journal(Path("/run/testbed") / make.__name__ / "journal.jsonl")))
    print(json.dumps([asdict(figure) for figure in figures]))


if __name__ == "__main__":
    main()
