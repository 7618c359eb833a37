"""Links that change while packets are on them: nothing is lost, delays follow in time, TCP gets over a cut.

In real namespaces, on each fabric this machine has.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.errors import BadInput, RunInvalid
from testbed.network.lab.kernel import missing_parts
from testbed.network.live.replay import Applied
from testbed.network.measure.drift import histories, judge
from testbed.network.measure.watch import Probe, Watch
from testbed.network.network import Network
from testbed.network.relay.process import TUN_PATH
from testbed.network.spec.fabric import FabricName, Link
from testbed.network.spec.schedule import LinkSchedule, PairEvent, PairSchedule
from testbed.network.spec.series import SteppedDelay
from testbed.network.spec.topology import load_topology
from testbed.system.journal import Journal
from tests.network.relay_lab_helpers import processes_of, tcp_listener, wait_for, within

pytestmark = [pytest.mark.shaped, pytest.mark.alone]
MAY_SKIP = not os.environ.get("CI")  # CI runs both fabrics or fails

S = 1_000_000_000
MS = 1_000_000
PLACEMENT = {"a": "near", "b": "far"}
LINKS = [Link("a", "b", 10.0), Link("b", "a", 10.0)]
FABRICS = [
    pytest.param("relay", marks=pytest.mark.skipif(MAY_SKIP and not Path(TUN_PATH).exists(), reason=f"no {TUN_PATH}")),
    pytest.param("lab", marks=pytest.mark.skipif(MAY_SKIP and bool(missing_parts()), reason=str(missing_parts()))),
]


@pytest.fixture(params=FABRICS)
def network(request: pytest.FixtureRequest, run_id: str, journal: Journal) -> Iterator[Network]:
    fabric: FabricName = request.param
    with Network(load_topology("two-sites"), PLACEMENT, fabric, run_id, journal, live=True) as made:
        yield made


def schedule(there: PairSchedule, back: PairSchedule | None = None) -> LinkSchedule:
    return LinkSchedule(LINKS, PLACEMENT, {("near", "far"): there, ("far", "near"): back or PairSchedule()})


def replayed(
    network: Network, journal: Journal, plan: LinkSchedule, seconds: float, pairs: int = 1
) -> tuple[list[Applied], list[Probe]]:
    """`pairs` watchers at once are as many times the probes."""
    network.change(plan.moving_at(0))
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(network.ports, [("a", "b")] * pairs, journal, Path(folder) / "probes")
        try:
            network.replay(plan, time.monotonic_ns())
            time.sleep(seconds)
            watch.stop_sending()
            time.sleep(0.5)
            return network.stop_replay(), list(watch.results())
        finally:
            watch.close()


def test_a_replay_loses_nothing_and_packets_meet_the_delay_of_their_time(network: Network, journal: Journal) -> None:
    delays_ms = (10, 60, 25, 80, 15)
    times = tuple(k * S // 5 for k in range(len(delays_ms)))
    plan = schedule(PairSchedule(SteppedDelay(times, tuple(ms * MS for ms in delays_ms), S)))
    before = network.counters()
    applied, probes = replayed(network, journal, plan, 4.0, pairs=10)
    assert len(applied) in range(15, 26)
    assert len(probes) > 100 and all(probe.backward_ns is not None for probe in probes)
    counted = network.counters()
    assert (counted.dropped, counted.lost, counted.cut, counted.unmatched) == (0, 0, 0, before.unmatched)
    judged = [one for one in judge(probes, histories(plan, applied)) if one.comparable]
    by_delay: dict[float, list[float]] = {}
    for one in judged:
        assert one.one_way_ms is not None
        by_delay.setdefault(one.one_way_specified_ms, []).append(one.one_way_ms - one.one_way_specified_ms)
    assert len(by_delay) >= 4, "most values of the series were met by packets"
    assert all(abs(statistics.median(errors)) < 1.5 for errors in by_delay.values()), by_delay


def test_steps_come_when_they_are_due_and_links_stay_as_the_last_left_them(network: Network, journal: Journal) -> None:
    plan = schedule(PairSchedule(SteppedDelay((0, S // 10), (10 * MS, 30 * MS), S // 5)))
    applied, _ = replayed(network, journal, plan, 3.0)
    periods = [later.scheduled_ns - one.scheduled_ns for one, later in pairwise(applied)]
    assert set(periods) == {S // 10}
    late_ms = [(one.applied_ns - one.scheduled_ns) / MS for one in applied]
    assert all(late > 0 for late in late_ms) and statistics.median(late_ms) < 8
    one_way_ms = network.read_back()["a", "b"] + network.base_one_way_ms["a", "b"]
    assert one_way_ms == pytest.approx(
        plan.at(applied[-1].scheduled_ns - applied[0].scheduled_ns + S // 10)[0].one_way_ms, abs=0.01
    )


def test_tcp_stalls_on_a_cut_link_and_recovers_when_it_is_back(network: Network) -> None:
    plan = schedule(PairSchedule(None, (PairEvent(S // 2, up=False), PairEvent(3 * S // 2, up=True))))
    a, b = network.ports
    arrivals: list[tuple[int, float]] = []
    with tcp_listener(b, 9100) as listener, within(a, socket.socket) as client:
        client.settimeout(10)
        client.connect((b.address, 9100))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server, _ = listener.accept()
        with server:
            started = time.monotonic()
            network.replay(plan, time.monotonic_ns())
            reading = threading.Thread(target=read_numbered, args=(server, 100, started, arrivals))
            reading.start()
            for number in range(100):
                client.sendall(number.to_bytes(4, "big"))
                time.sleep(0.03)
            reading.join(10)
    applied = network.stop_replay()
    assert [number for number, _ in arrivals] == list(range(100)), "all of it, in order"
    assert [one.links for one in applied] == [1, 1]
    quiet = max(later - one for (_, one), (_, later) in pairwise(arrivals))
    assert 0.9 < quiet < 4.0, "silent while the link was cut, and until TCP tried again"
    counted = network.counters()
    assert counted.cut > 0 and counted.dropped == 0 and counted.unmatched == 0


def read_numbered(server: socket.socket, count: int, started: float, arrivals: list[tuple[int, float]]) -> None:
    with server.makefile("rb") as stream:
        for _ in range(count):
            number = int.from_bytes(stream.read(4), "big")
            arrivals.append((number, time.monotonic() - started))


def test_probes_of_a_cut_link_are_lost_and_judged_by_nobody(network: Network, journal: Journal) -> None:
    plan = schedule(PairSchedule(None, (PairEvent(S, up=False), PairEvent(2 * S, up=True))))
    applied, probes = replayed(network, journal, plan, 3.0, pairs=4)
    judged = list(judge(probes, histories(plan, applied)))
    lost = [one for one in judged if one.rtt_ms is None]
    assert lost and not any(one.comparable for one in lost)
    assert sum(one.comparable for one in judged) > len(judged) / 2


def test_a_step_that_no_link_can_do_ends_the_replay_by_name(network: Network) -> None:
    plan = schedule(PairSchedule(SteppedDelay((0, S // 10, S // 5), (10 * MS, 20 * MS, 0), None)))
    with pytest.raises(BadInput, match="the bare path takes"):
        network.require(plan.lowest())
    network.replay(plan, time.monotonic_ns())
    time.sleep(0.4)
    with pytest.raises(RunInvalid, match=r"a change of its links failed: .*bare path"):
        network.check()
    with pytest.raises(BadInput, match="the bare path takes"):
        network.stop_replay()


def test_a_killed_helper_ends_the_run_and_leaves_no_process(network: Network, journal: Journal) -> None:
    """Least of all the shaper, which is the helper's child and none of ours."""
    assert network._live is not None and network._live._helper is not None
    os.kill(network._live._helper.pid, signal.SIGKILL)
    with pytest.raises(RunInvalid, match=r"the process that updates its links was killed \(signal 9\)"):
        network.check()
    network.close()
    wait_for(lambda: not processes_of(journal))
