"""What every phase meets besides its requests: links that change on time, nodes that stop, and a probe that watches.

Rules kept: each phase starts series and events anew, with its requests; before it, and after the last, links are as at
the beginning; what was stopped runs again before a phase is asked for its log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from testbed.emulation.deployment import Deployment
from testbed.events import Event, NodeStop, node_stops
from testbed.network.drift import histories, judge
from testbed.network.journal import Journal
from testbed.network.network import Network
from testbed.network.replay import Applied
from testbed.network.schedule import LinkSchedule, Pair
from testbed.network.watch import Watch
from testbed.progress import Progress
from testbed.results.records import STOPPED, ProbeRow, ReplayRow

NS_PER_S = 1_000_000_000
MAX_RECOVERY_S = 120.0  # TCP_RTO_MAX, include/net/tcp.h: a connection tries again no later than this


class Phase(Protocol):
    """A phase as the one who runs it sees it."""

    def begin(self) -> None:
        """The requests start now."""

    def requests_over(self) -> None:
        """All are answered or given up; what is under way may still arrive."""


class Conditions:
    """For all phases of one run. Without a schedule that changes anything, links stay; `pairs` are those to watch."""

    def __init__(
        self,
        network: Network,
        schedule: LinkSchedule,
        events: Sequence[Event],
        pairs: Sequence[Pair],
        journal: Journal,
        progress: Progress,
    ) -> None:
        self.replayed: list[ReplayRow] = []
        self.probes: list[ProbeRow] = []
        self._network = network
        self._schedule = schedule
        self._about = _about(events)
        self._stops = node_stops(events)
        self._pairs = pairs
        self._journal = journal
        self._progress = progress
        self._cut_s = 0.0  # for how long links were cut when the last phase ended
        self.rewind()

    def rewind(self) -> None:
        """Links as at the start of a phase."""
        if moving := self._schedule.moving_at(0):
            self._network.change(moving)

    def restore(self) -> None:
        """Links as the topology has them, for their last check."""
        if moving := self._schedule.moving:
            self._network.change(moving)

    @contextmanager
    def phase(self, policy: str, repeat: int, deployment: Deployment) -> Iterator[Phase]:
        """Leaving it stops whatever still changes or watches; rows are there after an orderly end only."""
        if self._cut_s:
            wait_s = min(MAX_RECOVERY_S, 2 * self._cut_s)
            self._progress.note(f"links were cut when the last phase ended: {wait_s:.0f} s for TCP to find them again")
            time.sleep(wait_s)
            self._cut_s = 0.0
        running = _Running(self._network, self._schedule, self._stops, deployment)
        watch = Watch(self._network.ports, self._pairs, self._journal) if self._pairs else None
        running.watch = watch
        try:
            yield running
            self._close(policy, repeat, running, watch)
        finally:
            running.cancel()
            if watch is not None:
                watch.close()

    def _close(self, policy: str, repeat: int, running: _Running, watch: Watch | None) -> None:
        ended_ns = time.monotonic_ns()
        running.cancel()
        applied: list[Applied] = []
        if self._schedule.pairs:
            applied = self._network.stop_replay()
            took_ns = ended_ns - running.start_ns
            cut_ns = [took_ns - at_ns for pair in self._schedule.pairs.values() if (at_ns := pair.ends_cut) is not None]
            self._cut_s = max(0, *cut_ns, 0) / NS_PER_S
            self.rewind()
        self.replayed += [
            ReplayRow(policy, repeat, index, self._about.get(one.scheduled_ns - running.start_ns, "series"), *one)
            for index, one in enumerate(applied)
        ]
        self.replayed += [
            ReplayRow(policy, repeat, len(applied) + index, f"{STOPPED}{stop.node}", at_ns, at_ns, done_ns, 0)
            for index, (stop, at_ns, done_ns) in enumerate(running.stopped)
        ]
        if watch is None:
            return
        # steps were scheduled from the phase's start; links are held against what was really applied, and when
        links = histories(self._schedule, applied)
        self.probes += [
            ProbeRow(
                policy=policy,
                repeat=repeat,
                src=one.probe.src,
                dst=one.probe.dst,
                sent_ns=one.probe.sent_ns,
                specified_ms=one.specified_ms,
                rtt_ms=one.rtt_ms,
                one_way_specified_ms=one.one_way_specified_ms,
                one_way_ms=one.one_way_ms,
                comparable=one.comparable,
            )
            for one in judge(watch.results(), links)
        ]


class _Running:
    """One phase on its way."""

    def __init__(
        self, network: Network, schedule: LinkSchedule, stops: Sequence[NodeStop], deployment: Deployment
    ) -> None:
        self.start_ns = 0
        self.stopped: list[tuple[NodeStop, int, int]] = []  # scheduled and done, CLOCK_MONOTONIC
        self.watch: Watch | None = None
        self._network = network
        self._schedule = schedule
        self._deployment = deployment
        self._stops = stops
        self._timers: list[threading.Timer] = []

    def begin(self) -> None:
        self.start_ns = time.monotonic_ns()
        if self._schedule.pairs:
            self._network.replay(self._schedule, self.start_ns)
        for stop in self._stops:
            timer = threading.Timer(stop.at_ns / NS_PER_S, self._stop, [stop])
            timer.daemon = True
            self._timers.append(timer)
            timer.start()

    def requests_over(self) -> None:
        if self.watch is not None:
            self.watch.stop_sending()

    def cancel(self) -> None:
        """No node stops any more; those that did run again."""
        while self._timers:
            timer = self._timers.pop()
            timer.cancel()
            timer.join()
        self._deployment.thaw()

    def _stop(self, stop: NodeStop) -> None:
        self._deployment.freeze(stop.node)
        self.stopped.append((stop, self.start_ns + stop.at_ns, time.monotonic_ns()))


def _about(events: Sequence[Event]) -> dict[int, str]:
    """What happens at each time that has events of links."""
    about: dict[int, list[str]] = {}
    for event in events:
        if event.stop_node is None:
            about.setdefault(event.at_ns, []).append(event.about)
    return {at_ns: ", ".join(named) for at_ns, named in about.items()}
