"""What happens in a trial besides requests: links that change on time, nodes that stop, and the in-run probe.

Rules kept: each phase starts series and events anew, with its requests; before it, and after the last, links are as at
the beginning; what was stopped runs again before a phase is asked for its log.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from testbed.clock.run import Moment, PhaseClock, RunClock, between
from testbed.clock.waiting import hold_until, left_s
from testbed.emulation.deployment import Deployment
from testbed.emulation.rowlogs import RowLog
from testbed.errors import RunInvalid, TestbedError
from testbed.experiment.faults import Event, NodeStop, node_stops
from testbed.experiment.progress import Progress
from testbed.network.live.replay import Applied
from testbed.network.measure.drift import histories, judge
from testbed.network.measure.watch import Watch
from testbed.network.network import Network
from testbed.network.spec.fabric import Pair
from testbed.network.spec.schedule import LinkSchedule, PairSchedule
from testbed.nodes.rowfile import RowFile
from testbed.results.records import STOPPED, ProbeRow, ReplayRow
from testbed.results.unmet import PhaseTime
from testbed.system.journal import Journal
from testbed.system.units import NS_PER_S
from testbed.wire.tcpinfo import longest_timeout_s


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
        log_dir: Path,
        journal: Journal,
        progress: Progress,
        clock: RunClock,
    ) -> None:
        self._clock = clock
        self._clock_phases: list[PhaseClock] = []
        self.replayed: list[ReplayRow] = []
        self.probes: list[RowLog] = []  # one a phase
        self.phases: list[PhaseTime] = []
        self.strange_packets = 0  # at the ports of probes, and not probes
        self._network = network
        self._schedule = schedule
        self._about = _about(events)
        self._stops = node_stops(events)
        self._pairs = pairs
        self._log_dir = log_dir
        self._journal = journal
        self._progress = progress
        self._recovery_s = 0.0  # after the last phase, until connections use all links again
        self.rewind()

    def rewind(self) -> None:
        """Links as at the start of a phase."""
        if moving := self._schedule.moving_at(0):
            self._network.change(moving)

    def restore(self) -> None:
        """Links as the topology has them, for their last check."""
        if moving := self._schedule.moving:
            self._network.change(moving)

    def sleep(self, virtual_s: float) -> None:
        clock = self._clock.clock
        hold_until(clock, clock.now_ns() + round(virtual_s * NS_PER_S))

    def clock_facts(self) -> dict[str, object]:
        """For the manifest: how the run's clock went in each phase so far."""
        phases = [
            one._asdict() | {"holders": {name: held._asdict() for name, held in one.holders.items()}}
            for one in self._clock_phases
        ]
        return {"dilation": self._clock.dilation, "phases": phases}

    @contextmanager
    def phase(self, policy: str, repeat: int, deployment: Deployment) -> Iterator[Phase]:
        """Leaving it stops whatever still changes or watches; rows are there after an orderly end only."""
        if self._recovery_s:
            self._progress.note(f"{self._recovery_s:.1f} s for TCP to recover links that were cut in the last trial")
            self.sleep(self._recovery_s)
            self._recovery_s = 0.0
        watch = None
        if self._pairs:
            probed = self._log_dir / f"probes.{policy}.{repeat}.json"
            watch = Watch(self._network.ports, self._pairs, self._journal, probed, str(self._clock.path))
        running = _Running(self._network, self._schedule, self._stops, deployment, watch, self._clock)
        try:
            yield running
            self._close(policy, repeat, running, watch)
        finally:
            running.cancel()
            if watch is not None:
                watch.close()

    def _close(self, policy: str, repeat: int, running: _Running, watch: Watch | None) -> None:
        ended_ns = self._clock.clock.now_ns()
        running.cancel()
        if running.failed is not None:
            raise running.failed
        first, last = running.moments
        self._clock_phases.append(between(policy, repeat, first, last, self._clock.dilation))
        self.phases.append(PhaseTime(policy, repeat, round((running.over_ns - running.start_ns) / NS_PER_S, 3)))
        applied: list[Applied] = []
        if self._schedule.pairs:
            applied = self._network.stop_replay()
            took_ns = ended_ns - running.start_ns
            self._recovery_s = recovery_s(self._schedule.pairs.values(), took_ns, self._clock.dilation)
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
        rows = RowFile(self._log_dir / f"probes.{policy}.{repeat}.rows")
        try:
            for one in judge(watch.results(), links):
                rows.add(
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
                )
        finally:
            rows.close()
        self.probes.append(RowLog(rows.path, rows.rows))
        self.strange_packets += watch.strange


class _Running:
    """One trial in progress."""

    def __init__(
        self,
        network: Network,
        schedule: LinkSchedule,
        stops: Sequence[NodeStop],
        deployment: Deployment,
        watch: Watch | None,
        clock: RunClock,
    ) -> None:
        self._run_clock = clock
        self._clock = clock.clock
        self._over = False
        self.moments: list[Moment] = []  # at its beginning, and when no request was open any more
        self.start_ns = 0
        self.over_ns = 0  # when no request was open any more
        self.stopped: list[tuple[NodeStop, int, int]] = []  # scheduled and done
        self.failed: RunInvalid | None = None  # an event that could not be carried out
        self._network = network
        self._schedule = schedule
        self._stops = stops
        self._deployment = deployment
        self._watch = watch
        self._timers: list[threading.Timer] = []

    def begin(self) -> None:
        self.moments.append(self._run_clock.moment())
        self.start_ns = self._clock.now_ns()
        if self._schedule.pairs:
            self._network.replay(self._schedule, self.start_ns)
        for stop in self._stops:
            self._await(stop)

    def requests_over(self) -> None:
        self.moments.append(self._run_clock.moment())
        self.over_ns = self._clock.now_ns()
        if self._watch is not None:
            self._watch.stop_sending()

    def _await(self, stop: NodeStop) -> None:
        timer = threading.Timer(left_s(self._clock, self.start_ns + stop.at_ns), self._look, [stop])
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _look(self, stop: NodeStop) -> None:
        """In a timer's thread: the clock may have been held meanwhile."""
        if self._clock.now_ns() >= self.start_ns + stop.at_ns:
            self._stop(stop)
        elif not self._over:
            self._await(stop)

    def cancel(self) -> None:
        """No node stops any more; those that did run again."""
        self._over = True
        while self._timers:
            timer = self._timers.pop()
            timer.cancel()
            timer.join()
        self._deployment.thaw()

    def _stop(self, stop: NodeStop) -> None:
        """In a timer's thread, whose exceptions would be lost."""
        try:
            self._deployment.freeze(stop.node)
        except TestbedError as error:
            self.failed = RunInvalid(f"events: node {stop.node} could not be stopped: {error}")
            return
        self.stopped.append((stop, self.start_ns + stop.at_ns, self._clock.now_ns()))


def recovery_s(pairs: Iterable[PairSchedule], took_ns: int, dilation: float = 1.0) -> float:
    """For how long after a phase of `took_ns`, with all links up, a connection may still wait to use one again.

    It doubles its timeout while its link is cut, so it tries again within as long as the cut; allowed is twice that.
    """
    waits_ns, most_ns = [0], int(longest_timeout_s(dilation) * NS_PER_S)
    for since_ns, until_ns in (cut for pair in pairs for cut in pair.cuts):
        up_ns = took_ns if until_ns is None else min(until_ns, took_ns)
        if since_ns < up_ns:
            waits_ns.append(up_ns + min(2 * (up_ns - since_ns), most_ns) - took_ns)
    return max(waits_ns) / NS_PER_S


def _about(events: Sequence[Event]) -> dict[int, str]:
    """What happens at each time that has events of links."""
    about: dict[int, list[str]] = {}
    for event in events:
        if event.stop_node is None:
            about.setdefault(event.at_ns, []).append(event.about)
    return {at_ns: ", ".join(named) for at_ns, named in about.items()}
