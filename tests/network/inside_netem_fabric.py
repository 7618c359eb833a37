"""Runs inside the lab's kernel: the fabric `netem` from attach to detach, as on a host whose kernel has netem.

Prints one JSON line of findings; what they should be is said in test_netem_inside_shaped.
"""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from testbed.network.capabilities import choose_fabric, probe_capabilities
from testbed.network.hosts import MininetHosts, enter
from testbed.network.netem.fabric import NetemFabric
from testbed.network.netem.plan import undelayed
from testbed.network.spec.fabric import BurstLoss, Link, Port
from testbed.system.journal import Journal

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.network.relay_lab_helpers import (
    interfaces,
    median_errors_ms,
    random_links,
    receive_numbered,
    send_numbered,
    udp_socket,
)

UDP_PORT = 9005
UPDATES = 1000


def stream(ports: list[Port], count: int, meanwhile: threading.Event | None = None) -> list[int]:
    """Numbers of the packets that arrive at the second node, in the order in which they do."""
    with udp_socket(ports[0]) as sender, udp_socket(ports[1], UDP_PORT) as receiver:
        arguments = (sender, (ports[1].address, UDP_PORT), count, 0.001)
        sending = threading.Thread(target=send_numbered, args=arguments)
        sending.start()
        received = receive_numbered(receiver, sending)
        sending.join()
    if meanwhile:
        meanwhile.set()
    return [number for number, _ in received]


def tc(pid: int, *arguments: str) -> list[dict[str, object]]:
    return json.loads(subprocess.run(enter(pid, ["tc", *arguments]), capture_output=True, check=True).stdout)  # type: ignore[no-any-return]


def main() -> dict[str, object]:
    found: dict[str, object] = {"auto": choose_fabric("auto", probe_capabilities())}
    journal = Journal(Path("/run/testbed/journal.jsonl"))
    hosts = MininetHosts("inside", journal)
    ports = [Port(f"n{index}", index, f"10.77.0.{index + 1}", hosts.add(f"n{index}")) for index in range(3)]
    fabric = NetemFabric("inside", journal)
    fabric.attach(ports)
    found["attached"] = {f"{a} {b}": ms for (a, b), ms in fabric.read_back().items()}
    found["facts"] = {key: str(value) for key, value in fabric.facts().items()}

    links = random_links(ports, seed=5)
    errors = median_errors_ms(fabric, ports, links, probes=21)
    found["rtt_errors_ms"] = [(error, rtt_ms) for error, rtt_ms in errors.values()]
    found["asked_ms"] = [link.one_way_ms for link in links]
    shown = fabric.read_back()
    found["shown_ms"] = [shown[link.src, link.dst] for link in links]
    quiet = fabric.counters()
    found["quiet"] = (quiet.unmatched, quiet.dropped, quiet.lost, quiet.cut)

    found["updates"] = live_updates(fabric, ports)
    first = Link("n0", "n1", 5.0)
    others = [link for link in undelayed(ports) if (link.src, link.dst) != ("n0", "n1")]
    fabric.shape([replace(first, burst_loss=BurstLoss(0.05, 0.5)), *others])
    lossy = len(stream(ports, 1000))
    fabric.change([replace(first, up=False)])
    cut = len(stream(ports, 100))
    fabric.change([first])
    after = fabric.counters()
    found["losses"] = {
        "lossy": lossy, "cut": cut, "lost": after.lost, "cut counted": after.cut, "dropped": after.dropped,
        "restored": len(stream(ports, 100)),
    }  # fmt: skip
    fabric.change([replace(first, rate_bps=8_000_000, buffer_bytes=20_000)])
    (stage,) = [one for one in tc(ports[0].pid, "-j", "qdisc", "show", "dev", "eth0") if one["handle"] == "101:"]
    found["buffer"] = stage["options"]
    fabric.detach()
    fabric.detach()
    found["left"] = [interfaces(port) for port in ports]
    hosts.stop()
    return found


def live_updates(fabric: NetemFabric, ports: list[Port]) -> dict[str, object]:
    """Packets of one link while all links change all the time."""
    levels = [[Link(a.node, b.node, ms) for a in ports for b in ports if a != b] for ms in (20.0, 60.0)]
    arrived: list[int] = []
    done = threading.Event()
    fabric.shape(levels[0])
    reading = threading.Thread(target=lambda: arrived.extend(stream(ports, 2500, done)))
    reading.start()
    updates = 0
    while updates < UPDATES or not done.is_set():
        updates += 1
        fabric.change(levels[updates % 2])
        time.sleep(0.001)
    reading.join()
    return {"count": updates, "arrived": len(arrived), "in order": arrived == sorted(arrived)}


if __name__ == "__main__":
    print(json.dumps(main()))
