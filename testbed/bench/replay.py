"""`make bench`, links that change on time: how late the steps of a replayed series are in force."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from itertools import permutations

from testbed.bench.measurement import Measurement
from testbed.bench.network import FABRICS, MATRIX_NODES, UPDATE_HZ, joined, journalled, node_names, of_each
from testbed.errors import MachineCannot
from testbed.network.live.fabric import LiveFabric
from testbed.network.live.replay import Applied
from testbed.network.measure.probe import percentile_99
from testbed.network.measure.tolerances import REPLAY_LATE_MS
from testbed.network.spec.fabric import FabricName, Link
from testbed.network.spec.schedule import LinkSchedule, PairSchedule
from testbed.network.spec.series import SteppedDelay
from testbed.system.units import NS_PER_S, NS_PER_US

SECONDS = 20


def replay_figures(fabrics: Sequence[FabricName] = FABRICS) -> list[Measurement]:
    return of_each(fabrics, lambda fabric: [lateness(fabric)])


def lateness(fabric: FabricName) -> Measurement:
    """Every link of the full matrix changes at every step, with nothing else running."""
    names = node_names(MATRIX_NODES)
    schedule = alternating(names, seed=MATRIX_NODES)
    bare = dict.fromkeys(permutations(names, 2), 0.0)
    with journalled() as (run_id, journal):
        live = LiveFabric(fabric, run_id, journal)
        with joined(live, run_id, journal, dict.fromkeys(names)):
            live.shape(schedule.at(0))
            live.replay(schedule, bare, time.monotonic_ns())
            time.sleep(SECONDS)
            return of_steps(fabric, live.stop_replay())


def alternating(names: Sequence[str], seed: int) -> LinkSchedule:
    """Every directed link has two delays and alternates between them `UPDATE_HZ` times a second."""
    draw = random.Random(seed)
    period_ns = 2 * NS_PER_S // UPDATE_HZ
    delays_us = {pair: draw.sample(range(5_000, 60_000), 2) for pair in permutations(names, 2)}
    pairs = {
        pair: PairSchedule(SteppedDelay((0, period_ns // 2), tuple(us * NS_PER_US for us in both), period_ns))
        for pair, both in delays_us.items()
    }
    links = [Link(a, b, both[0] / 1e3) for (a, b), both in delays_us.items()]
    return LinkSchedule(links, {name: name for name in names}, pairs)


def of_steps(fabric: FabricName, steps: Sequence[Applied]) -> Measurement:
    late_ms = [(one.applied_ns - one.scheduled_ns) / 1e6 for one in steps]
    p99 = percentile_99(late_ms)
    if p99 is None:
        raise MachineCannot(f"bench: {fabric}: only {len(late_ms)} steps of the replay were carried out")
    links = MATRIX_NODES * (MATRIX_NODES - 1)
    return Measurement(
        f"{fabric}: replay lateness p99 at {UPDATE_HZ} Hz, {MATRIX_NODES} nodes",
        p99,
        "ms",
        statistics.median(late_ms),
        max(late_ms),
        f"[median, largest] of {len(late_ms)} steps, {links} links each; a valid run's: at most {REPLAY_LATE_MS} ms",
    )
