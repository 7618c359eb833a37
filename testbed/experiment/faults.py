"""Timed events of an experiment: links that are cut, come back or change, partitions, nodes that stop.

Each phase meets all of them anew, `at_s` seconds after its requests start. What an event would change nothing of is
refused, as everywhere in an experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.errors import BadInput
from testbed.files.strict import MBIT_PER_S, SHARE, S, Strict
from testbed.files.yamlfile import Mistake, nearest, raise_mistakes
from testbed.network.spec.fabric import Pair
from testbed.network.spec.schedule import PairEvent
from testbed.network.spec.topology import Milliseconds, Topology
from testbed.system.units import NS_PER_S

MAX_AT_S = 86_400.0

Sites = Annotated[list[str], Field(min_length=1)]


class Event(Strict):
    """One event: exactly one of `link`, `partition`, `heal` and `stop_node`."""

    at_s: Annotated[float, S, Field(ge=0, le=MAX_AT_S, allow_inf_nan=False)] = Field(
        description="when: seconds after the requests of a policy's run start", examples=[5]
    )
    link: Annotated[list[str], Field(min_length=2, max_length=2)] | dict[Literal["from", "to"], str] | None = Field(
        default=None,
        description="the link that changes: [site, site] for both directions, {from: site, to: site} for one; from "
        "then on it is as up, rtt_ms, loss and rate_mbit say",
        examples=[["us-east-1", "us-east-2"], {"from": "us-east-1", "to": "us-east-2"}],
    )
    up: bool | None = Field(default=None, description="whether the link carries packets; null: as before")
    rtt_ms: Milliseconds | None = Field(
        default=None, description="round-trip time of the link from then on; null: as before"
    )
    loss: Annotated[float, SHARE, Field(ge=0, lt=1)] | None = Field(
        default=None, description="share of packets lost from then on; null: as before"
    )
    rate_mbit: Annotated[float, MBIT_PER_S, Field(ge=0.008, le=10_000)] | None = Field(
        default=None, description="rate of the link from then on; null: as before"
    )
    partition: Annotated[list[Sites], Field(min_length=2)] | None = Field(
        default=None,
        description="groups of sites between which no packet passes from then on",
        examples=[[["us-east-1"], ["us-east-2", "us-west-2"]]],
    )
    heal: Literal[True] | None = Field(default=None, description="true: every link is up again")
    stop_node: str | None = Field(
        default=None,
        description="node that stops running and answering until the policy's run ends",
        examples=["drafter0"],
    )

    @property
    def at_ns(self) -> int:
        return round(self.at_s * NS_PER_S)

    @property
    def about(self) -> str:
        """In a few words, for progress and reasons."""
        if self.stop_node is not None:
            return f"node {self.stop_node} stopped"
        if self.heal:
            return "all links up"
        if self.partition is not None:
            return f"partition {' | '.join(','.join(group) for group in self.partition)}"
        state = {"up": self.up, "rtt_ms": self.rtt_ms, "loss": self.loss, "rate_mbit": self.rate_mbit}
        named = [("cut" if value is False else "up") if key == "up" else f"{key} {value:g}"
                 for key, value in state.items() if value is not None]  # fmt: skip
        return f"link {' -> '.join(self.ends)} {', '.join(named)}"

    @property
    def only_mends(self) -> bool:
        """It brings links up and changes nothing else of them."""
        changes = (self.rtt_ms, self.loss, self.rate_mbit)
        return bool(self.heal or self.up) and all(change is None for change in changes)

    @property
    def ends(self) -> tuple[str, ...]:
        """The sites of `link`; none without it."""
        if isinstance(self.link, Mapping):
            return tuple(site for end, site in sorted(self.link.items()))  # "from" before "to"
        return tuple(self.link or ())

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        raise_mistakes(self._misfits())
        return self

    def _misfits(self) -> Iterator[Mistake]:
        kinds = [key for key in ("link", "partition", "heal", "stop_node") if getattr(self, key) is not None]
        if len(kinds) != 1:
            yield Mistake(
                (), f"an event has exactly one of link, partition, heal, stop_node; this one has {_list(kinds)}"
            )
            return
        changes = [key for key in ("up", "rtt_ms", "loss", "rate_mbit") if getattr(self, key) is not None]
        if self.link is None:
            yield from (
                Mistake((key,), f"{key} belongs to a link event; this is a {kinds[0]} event") for key in changes
            )
        else:
            if not changes:
                yield Mistake(("link",), "a link event needs at least one of up, rtt_ms, loss, rate_mbit")
            if len(self.ends) == 2 and self.ends[0] == self.ends[1]:
                yield Mistake(("link",), f"link: {self.ends[0]} is given twice; links inside a site cannot change")
            if isinstance(self.link, Mapping) and set(self.link) != {"from", "to"}:
                yield Mistake(("link",), "link: write [site, site] for both directions, or {from: site, to: site}")
        if self.at_ns == 0 and (self.up is False or self.partition is not None):
            text = "at_s: nodes connect before a trial starts, so nothing can be cut at 0; use a later time"
            yield Mistake(("at_s",), text)
        sites = [site for group in self.partition or () for site in group]
        for site in dict.fromkeys(sites):
            if sum(site in group for group in self.partition or ()) > 1:
                yield Mistake(("partition",), f"partition: {site} is in two groups")


@dataclass(frozen=True)
class NodeStop:
    """A node falls silent: it neither runs nor answers, as one without power; its connections stay open."""

    at_ns: int
    node: str


def unknown_nodes(events: Sequence[Event], nodes: Collection[str]) -> Iterator[Mistake]:
    """For the experiment's own validation: nodes that an event names and that are not there."""
    for index, event in enumerate(events):
        if event.stop_node is not None and event.stop_node not in nodes:
            text = f"no node {event.stop_node!r}{nearest(event.stop_node, nodes)}"
            yield Mistake(("events", index, "stop_node"), text)


def node_stops(events: Iterable[Event]) -> tuple[NodeStop, ...]:
    """In the order of their times."""
    stops = (NodeStop(event.at_ns, event.stop_node) for event in events if event.stop_node is not None)
    return tuple(sorted(stops, key=lambda stop: stop.at_ns))


def pair_events(events: Sequence[Event], topology: Topology, sites: Collection[str]) -> dict[Pair, list[PairEvent]]:
    """What each directed pair of the experiment's sites meets, by time; of two at one time the later entry wins."""
    by_pair: dict[Pair, list[PairEvent]] = {}
    cut: set[Pair] = set()
    for index, event in sorted(enumerate(events), key=lambda one: one[1].at_ns):
        for site in (*event.ends, *(site for group in event.partition or () for site in group)):
            where = f"events.{index}: topology {topology.name}"
            if site not in topology.region_names:
                raise BadInput(f"{where}: no region {site!r}{nearest(site, topology.region_names)}")
            if site not in sites:
                raise BadInput(f"events.{index}: no node is placed in {site}, so the event would do nothing there")
        pairs = list(_pairs(event, sites))
        if event.only_mends and cut.isdisjoint(pairs):
            raise BadInput(f"events.{index}: {event.about}, but no link is cut at that time; remove the event")
        for src, dst in pairs:
            met = _of(event, topology, src, dst)
            by_pair.setdefault((src, dst), []).append(met)
            if met.up:
                cut.discard((src, dst))
            elif met.up is not None:
                cut.add((src, dst))
    return by_pair


def _pairs(event: Event, sites: Collection[str]) -> Iterator[Pair]:
    if event.link is not None:
        src, dst = event.ends
        yield src, dst
        if not isinstance(event.link, Mapping):
            yield dst, src
    elif event.partition is not None:
        for group, other in permutations(event.partition, 2):
            yield from ((a, b) for a in group for b in other)
    elif event.heal:
        yield from permutations(sorted(sites), 2)


def _of(event: Event, topology: Topology, src: str, dst: str) -> PairEvent:
    up = True if event.heal else False if event.partition is not None else event.up
    one_way_ms = None if event.rtt_ms is None else topology.share(src, dst) * event.rtt_ms
    rate_bps = None if event.rate_mbit is None else round(event.rate_mbit * 1e6)
    return PairEvent(event.at_ns, up, one_way_ms, event.loss, rate_bps)


def _list(kinds: Sequence[str]) -> str:
    return " and ".join(kinds) or "none"
