"""A phase in virtual time whose network and nodes fail: what `World` runs, over unreliable links.

`sessions` False: what crosses a link is what roles get: late, twice, out of order, or not at all. So a role is held to
taking each message once (`policies.once`), and a message that is lost is lost: its request may fail, with a reason.
True: messages go through `wire.delivery` over links that lose, with pings as the emulation's: what was lost is sent
again, and a request fails only where a node, or the way to it, is gone.

Rule kept: everything follows from the schedule and its seed; and time has an end, `patience_ns` after the last request.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.experiment.policyentry import PolicyEntry
from testbed.nodes.recorder import PhaseLog
from testbed.simulation.anydrafter import AnyDrafter
from testbed.simulation.ways import Constant, framed_size
from testbed.simulation.world import PING_INTERVAL_NS, World, WorldSpec
from testbed.system.units import NS_PER_MS
from testbed.tables.replay import Replay
from testbed.tables.table import DecodeTable
from testbed.wire.delivery import Delivery
from testbed.wire.messages import Message
from testbed.wire.transport import Arrival
from testbed.workload.planned import PlannedRequest

Kind = Literal["drop", "delay", "duplicate", "reorder", "cut", "half_open", "slow", "restart", "stop"]
Session = Delivery[Message, Message]
LINK_KINDS: tuple[Kind, ...] = ("drop", "delay", "duplicate", "reorder", "cut", "half_open")


@dataclass(frozen=True)
class Fault:
    """From `from_ms` until `until_ms`: of `share` of what goes from `a` to `b` (a cut: both ways), or of node `a`.

    `ms`: how much later at most; of a slow reader, how long it takes over each message.
    """

    kind: Kind
    a: str
    b: str = ""
    from_ms: float = 0.0
    until_ms: float = 0.0
    share: float = 1.0
    ms: float = 0.0

    def on(self, src: str, dst: str, now_ms: float) -> bool:
        if not self.from_ms <= now_ms < self.until_ms:
            return False
        return (src, dst) == (self.a, self.b) or (self.kind == "cut" and (dst, src) == (self.a, self.b))


@dataclass(frozen=True)
class Schedule:
    faults: tuple[Fault, ...]
    seed: int
    sessions: bool


@dataclass(frozen=True)
class Frame:
    """What crosses a link between sessions: `message` None is a ping, `again` asks for what came after `number`."""

    incarnation: int
    number: int
    message: Message | None = None
    again: bool = False


class FaultyWorld(World):
    """One phase under one schedule. After `run`, `reasons` has one for each request that was given up."""

    def __init__(
        self,
        spec: WorldSpec,
        entry: PolicyEntry,
        planned: Sequence[PlannedRequest],
        table: DecodeTable,
        schedule: Schedule,
    ) -> None:
        assert spec.patience_ns is not None, "nothing may wait for ever"
        self.reasons: dict[int, str] = {}
        self._schedule = schedule
        self._chance = random.Random(schedule.seed)
        self._incarnations = dict.fromkeys(spec.nodes, 0)
        self._sessions: dict[tuple[str, str], Session] = {}
        self._read_ns = dict.fromkeys(spec.nodes, 0)  # until when a slow node reads what came before
        self._heard_ns: dict[tuple[str, str], int] = {}
        self._happened: list[str] = []
        super().__init__(spec, entry, 0, planned, table)

    def run(self) -> PhaseLog:
        for fault in self._schedule.faults:
            if fault.kind in ("restart", "stop"):
                self.kernel.at(round(fault.from_ms * NS_PER_MS), self._take_down, fault)
        if self._schedule.sessions:
            for src, host in self._hosts.items():
                for dst in host.paths:
                    self.kernel.at(PING_INTERVAL_NS, self._beat, (src, dst))
        log = super().run()
        for request in self.given_up:
            self.reasons[request] = self._reason(request)
        return log

    def handed_out(self) -> dict[int, tuple[int, ...]]:
        """What the users of requests that were given up had got of them."""
        found: dict[int, tuple[int, ...]] = {}
        for host in self._hosts.values():
            found |= host.recorder.unfinished()
        return found

    # --- nodes ---

    def _take_down(self, fault: Fault) -> None:
        """Its state is lost; what it had sent is in flight, what was for it is read by who comes after it."""
        old = self._hosts.get(fault.a)
        if old is None or old.stopped:
            return
        old.stopped = True
        self._happened.append(f"{fault.a} {'restarted' if fault.kind == 'restart' else 'stopped'}")
        if fault.kind == "stop":
            return
        self._incarnations[fault.a] += 1
        for pair in [pair for pair in self._sessions if pair[0] == fault.a]:
            del self._sessions[pair]
        new = self._hosts[fault.a] = self._host(fault.a, old.recorder)
        new.paths = old.paths
        self._connect(fault.a)

    def _reason(self, request: int) -> str:
        users = list(self._waiting)
        number = next(index for index, one in enumerate(self._planned) if one.request == request)
        node = users[number % len(users)]
        silent = [
            f"nothing from {src} since {at / 1e9:.1f} s" for (src, dst), at in self._heard_ns.items() if dst == node
        ]
        what = ", ".join([*silent, *self._happened]) or "no message arrived"
        return f"request {request} of {node}: timed out at {self.kernel.now_ns / 1e9:.1f} s: {what}"

    def _models(self, table: DecodeTable) -> Replay:
        return AnyDrafter(table)

    # --- links ---

    def _path(self, src: str, dst: str) -> Callable[[Message], None]:
        def send(message: Message) -> None:
            if not self._schedule.sessions:
                self._cross(src, dst, message, framed_size(message))
                return
            session = self._session(src, dst)
            number = session.next_number()
            session.keep(number, message)
            self._cross(src, dst, Frame(self._incarnations[src], number, message), framed_size(message))

        return send

    def _session(self, src: str, dst: str) -> Session:
        return self._sessions.setdefault((src, dst), Delivery())

    def _cross(self, src: str, dst: str, what: Message | Frame, size_bytes: int) -> None:
        """One transmission, or two, or none."""
        now_ns, chance = self.kernel.now_ns, self._chance
        now_ms = now_ns / NS_PER_MS
        met = [one for one in self._schedule.faults if one.on(src, dst, now_ms) and chance.random() < one.share]
        kinds = {one.kind for one in met}
        lost = "drop" in kinds or (self._schedule.sessions and kinds & {"cut", "half_open"})
        if lost:
            return
        carrier = self._carriers[src, dst]
        assert isinstance(carrier, Constant), "what fails is the schedule's business alone"
        at_ns = now_ns + carrier.delay_ns
        for one in met:
            if one.kind in ("cut", "half_open"):  # as TCP would, held back until the link is up
                at_ns = max(at_ns, round(one.until_ms * NS_PER_MS))
            elif one.kind in ("delay", "reorder"):
                at_ns += round(chance.random() * one.ms * NS_PER_MS)
        self._deliver_at(src, dst, what, at_ns, size_bytes)
        for one in met:
            if one.kind == "duplicate":
                self._deliver_at(src, dst, what, at_ns + round(chance.random() * one.ms * NS_PER_MS), size_bytes)

    def _deliver_at(self, src: str, dst: str, what: Message | Frame, at_ns: int, size_bytes: int) -> None:
        for one in self._schedule.faults:
            if one.kind == "slow" and one.a == dst and one.from_ms <= at_ns / NS_PER_MS < one.until_ms:
                at_ns = self._read_ns[dst] = max(at_ns, self._read_ns[dst]) + round(one.ms * NS_PER_MS)
        self.kernel.at(at_ns, self._arrived, (src, dst, what, self.kernel.now_ns, size_bytes))

    def _arrived(self, arrival: tuple[str, str, Message | Frame, int, int]) -> None:
        src, dst, what, sent_ns, size_bytes = arrival
        if self._hosts[dst].stopped:
            return
        messages = self._unframed(src, dst, what) if isinstance(what, Frame) else [what]
        for message in messages:
            self._heard_ns[src, dst] = self.kernel.now_ns
            self._hosts[dst].arrived(Arrival(src, message, sent_ns, self.kernel.now_ns, size_bytes))

    def _unframed(self, src: str, dst: str, frame: Frame) -> list[Message]:
        session = self._session(dst, src)
        if not session.knows(frame.incarnation):
            return []
        if frame.again:
            for number, message in session.again(frame.number) or ():
                self._cross(dst, src, Frame(self._incarnations[dst], number, message), framed_size(message))
            return []
        messages = session.received(frame.number, frame.message) if frame.message is not None else []
        if session.misses(frame.number):
            self._cross(dst, src, Frame(self._incarnations[dst], session.heard, again=True), 0)
        return messages

    def _beat(self, pair: tuple[str, str]) -> None:
        src, dst = pair
        if not self._hosts[src].stopped:
            self._cross(src, dst, Frame(self._incarnations[src], self._session(src, dst).sent), 0)
        self.kernel.at(self.kernel.now_ns + PING_INTERVAL_NS, self._beat, pair)
