"""What the links do over the time of a phase: a round-trip series and timed events become steps, each its differences.

Pure: no clock but the argument, in nanoseconds from the phase's start. Rules kept: a step's state is absolute, so that
one that came late or twice leaves the links right; only links that differ are in a step; both engines read the same
`PairSchedule`, so an event means the same in each.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from testbed.network.spec.fabric import Link, Pair
from testbed.network.spec.series import SteppedDelay
from testbed.system.units import NS_PER_MS


@dataclass(frozen=True)
class PairEvent:
    """From `at_ns` on, one directed pair of sites is otherwise; None leaves as it was."""

    at_ns: int
    up: bool | None = None
    one_way_ms: float | None = None
    loss: float | None = None
    rate_bps: int | None = None

    def changes(self) -> dict[str, Any]:
        """Fields of a link, in either engine, and their values from then on."""
        named = {"up": self.up, "one_way_ms": self.one_way_ms, "loss": self.loss, "rate_bps": self.rate_bps}
        found: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        if self.loss is not None:
            found["burst_loss"] = None  # this loss instead of any other
        return found


@dataclass(frozen=True)
class PairSchedule:
    """One directed pair of sites: its delay's series, and its events by time."""

    delay: SteppedDelay | None = None
    events: tuple[PairEvent, ...] = ()

    def at(self, link: Link, now_ns: int) -> Link:
        """The link as it is at this moment; `link` is what the topology says of it."""
        if self.delay is not None:
            link = replace(link, one_way_ms=self.delay(now_ns) / NS_PER_MS)
        for event in self.events[: bisect_right(self.events, now_ns, key=lambda one: one.at_ns)]:
            link = replace(link, **event.changes())
        return link

    def next_after(self, now_ns: int) -> int | None:
        """The next moment at which the pair may change; None if nothing is left to happen."""
        index = bisect_right(self.events, now_ns, key=lambda one: one.at_ns)
        moments = [self.events[index].at_ns] if index < len(self.events) else []
        if self.delay is not None and (step := self.delay.next_after(now_ns)) is not None:
            moments.append(step)
        return min(moments, default=None)

    @property
    def one_way_ms(self) -> tuple[float, ...]:
        """Every delay that a series or an event sets, in no order."""
        series = [] if self.delay is None else [delay / NS_PER_MS for delay in self.delay.delays_ns]
        return (*series, *(event.one_way_ms for event in self.events if event.one_way_ms is not None))

    @property
    def cuts(self) -> list[tuple[int, int | None]]:
        """From when to when the pair is cut, in order; None as the end: for good."""
        found: list[tuple[int, int | None]] = []
        since: int | None = None
        for event in self.events:
            if event.up is False and since is None:
                since = event.at_ns
            elif event.up and since is not None:
                if since < event.at_ns:
                    found.append((since, event.at_ns))
                since = None
        return found if since is None else [*found, (since, None)]

    @property
    def ends_cut(self) -> int | None:
        """Since when the pair is cut for good; None if it is up in the end."""
        return next((since for since, until in self.cuts if until is None), None)


class Step(NamedTuple):
    """From `at_ns` on these links are as given, whole; all others are as they were."""

    at_ns: int
    links: tuple[Link, ...]


class LinkSchedule:
    """All links of a run over a phase. `links` are the topology's, `placement` says at which site a node stands."""

    def __init__(self, links: Sequence[Link], placement: Mapping[str, str], pairs: Mapping[Pair, PairSchedule]) -> None:
        self.pairs = {pair: schedule for pair, schedule in pairs.items() if schedule != PairSchedule()}
        self._links = tuple(links)
        self._placement = dict(placement)

    def at(self, now_ns: int) -> list[Link]:
        """Every link as it is at this moment."""
        return [self._of(link).at(link, now_ns) for link in self._links]

    def moving_at(self, now_ns: int) -> list[Link]:
        """`moving`, as they are at this moment."""
        return [self._of(link).at(link, now_ns) for link in self.moving]

    @property
    def moving(self) -> list[Link]:
        """Those of them that change at any time, as the topology has them."""
        return [link for link in self._links if self._pair(link) in self.pairs]

    def steps(self) -> Iterator[Step]:
        """The differences after time 0, in order; without end where a series loops."""
        moving: dict[Pair, list[int]] = {}
        for index, link in enumerate(self._links):
            if (pair := self._pair(link)) in self.pairs:
                moving.setdefault(pair, []).append(index)
        in_force = self.at(0)
        moments = [(at_ns, pair) for pair in moving if (at_ns := self.pairs[pair].next_after(0)) is not None]
        heapq.heapify(moments)
        while moments:
            at_ns = moments[0][0]
            changed = []
            while moments and moments[0][0] == at_ns:
                pair = moments[0][1]
                following = self.pairs[pair].next_after(at_ns)
                if following is None:
                    heapq.heappop(moments)
                else:
                    heapq.heapreplace(moments, (following, pair))
                for index in moving[pair]:
                    link = self.pairs[pair].at(self._links[index], at_ns)
                    if link != in_force[index]:
                        in_force[index] = link
                        changed.append(link)
            if changed:
                yield Step(at_ns, tuple(changed))

    def steady(self) -> frozenset[Pair]:
        """Pairs of nodes whose links, there and back, never change, lose, spread, reorder or queue a packet."""
        plain = {
            (link.src, link.dst)
            for link in self._links
            if self._pair(link) not in self.pairs and not (link.by_chance or link.rate_bps)
        }
        return frozenset(pair for pair in plain if pair[::-1] in plain)

    def lowest(self) -> list[Link]:
        """Links whose delay changes, with the shortest it will be: what a fabric must be able to do."""
        return [replace(link, one_way_ms=min(link.one_way_ms, *self._of(link).one_way_ms)) for link in self._links
                if self._of(link).one_way_ms]  # fmt: skip

    def slowest_rtt_ms(self) -> float:
        """The longest round trip between two nodes at any time of a phase."""
        slowest = {(link.src, link.dst): max((link.one_way_ms, *self._of(link).one_way_ms)) for link in self._links}
        return max(there + slowest[dst, src] for (src, dst), there in slowest.items())

    def _pair(self, link: Link) -> Pair:
        return self._placement[link.src], self._placement[link.dst]

    def _of(self, link: Link) -> PairSchedule:
        return self.pairs.get(self._pair(link), _NOTHING)


_NOTHING = PairSchedule()
