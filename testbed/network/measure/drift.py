"""Compares every in-run probe with the specification of its links at its own time. Pure.

Rule kept: a probe is judged only where there is one right answer. Not judged are probes that met a change in the
making, or were sent so shortly before it that they may have, a link whose delay fell a moment ago (first in, first
out: older packets leave first), or one that is cut, limited in rate (the run's own packets queue there), or spread by
jitter or reordering.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed.network.live.replay import Applied
from testbed.network.measure.watch import Probe
from testbed.network.spec.fabric import Link, Pair
from testbed.network.spec.schedule import LinkSchedule
from testbed.system.units import NS_PER_MS

# From a probe's clock to its link: its program, the node's stack, the fabric taking note. A probe that met a cut and
# was judged by the link before would make a run invalid, so this is some ten times what it takes on an idle machine.
ENTERING_NS = 2 * NS_PER_MS


class Judged(NamedTuple):
    """A probe and its specification; times in ms, None where undefined."""

    probe: Probe
    specified_ms: float  # RTT
    one_way_specified_ms: float
    rtt_ms: float | None
    one_way_ms: float | None
    comparable: bool


@dataclass
class History:
    """One link over a phase, by when a packet was sent: what it was from when on, and whether that can be compared."""

    since_ns: list[int]
    links: list[Link]
    settled: list[bool]

    @classmethod
    def of(cls, link: Link) -> History:
        return cls([0], [link], [True])

    def change(self, link: Link, started_ns: int, applied_ns: int) -> None:
        falls_ns = max(0, round((self.links[-1].one_way_ms - link.one_way_ms) * NS_PER_MS))
        started_ns, settled_ns = started_ns - ENTERING_NS, applied_ns + falls_ns
        if started_ns < self.since_ns[-1]:  # the change before has not settled yet, and will not sooner for this one
            settled_ns = max(settled_ns, self.since_ns.pop())
            del self.links[-1], self.settled[-1]
        for since_ns, settled in ((started_ns, False), (settled_ns, True)):
            self.since_ns.append(since_ns)
            self.links.append(link)
            self.settled.append(settled)

    def at(self, now_ns: int) -> tuple[Link, bool]:
        """The link, and whether a packet that is sent now can be held against it."""
        index = max(0, bisect_right(self.since_ns, now_ns) - 1)
        link = self.links[index]
        plain = link.up and link.rate_bps is None and link.keeps_order
        return link, self.settled[index] and plain


def histories(schedule: LinkSchedule, applied: Sequence[Applied]) -> dict[Pair, History]:
    """Every link over a phase whose steps were carried out as `applied` says, in the order of the schedule."""
    found = {(link.src, link.dst): History.of(link) for link in schedule.at(0)}
    for step, done in zip(schedule.steps(), applied, strict=False):  # steps may have no end
        for link in step.links:
            found[link.src, link.dst].change(link, min(done.scheduled_ns, done.started_ns), done.applied_ns)
    return found


def judge(probes: Iterable[Probe], links: Mapping[Pair, History]) -> Iterator[Judged]:
    """Each probe against the two links it went over, at the moments when it entered them."""
    for probe in probes:
        there, fair_there = links[probe.src, probe.dst].at(probe.sent_ns)
        turned_ns = probe.sent_ns + (
            round(there.one_way_ms * NS_PER_MS) if probe.forward_ns is None else probe.forward_ns
        )
        back, fair_back = links[probe.dst, probe.src].at(turned_ns)
        came = probe.forward_ns is not None and probe.backward_ns is not None
        lossy = there.loses or back.loses
        yield Judged(
            probe,
            there.one_way_ms + back.one_way_ms,
            there.one_way_ms,
            (probe.forward_ns + probe.backward_ns) / NS_PER_MS if came else None,  # type: ignore[operator]
            probe.forward_ns / NS_PER_MS if came else None,  # type: ignore[operator]
            fair_there and fair_back and (came or not lossy),
        )
