"""One policy phase in virtual time: nodes, links and users put together, run until every request has its answer.

Rule kept: what a phase does follows from its arguments alone; its clock starts at 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from testbed.errors import RunInvalid
from testbed.models.devices import DeviceProfile
from testbed.models.replay import Replay
from testbed.models.tables import DecodeTable
from testbed.nodes.control import PlannedRequest
from testbed.nodes.recorder import PhaseLog, Recorder
from testbed.policies import registry
from testbed.policies.api import LinkSample, RoleContext
from testbed.scenario import PolicyEntry
from testbed.simulation.device import VirtualDevice
from testbed.simulation.host import VirtualHost
from testbed.simulation.kernel import Kernel
from testbed.simulation.links import NS_PER_MS, LinkSpec, make_links
from testbed.wire.framing import encode
from testbed.wire.messages import Envelope, Message, Ping
from testbed.wire.transport import Arrival

SAMPLES_AT_START = 9  # pings a node sends each peer when it connects, as testbed.nodes.program does
PING_INTERVAL_NS = 250 * NS_PER_MS
# As late in a run as most messages are: a frame's size depends on its send time and sequence number by a few bytes.
TYPICAL_SENT_NS = 2**40
TYPICAL_SEQUENCE = 2**10


@dataclass(frozen=True)
class Overheads:
    """What the testbed itself adds in emulation. 0 by default: a simulation shows the policy, not the testbed."""

    job_ms: float = 0.0  # from the end of a device job until its role hears of it
    message_ms: float = 0.0  # from the arrival of a message until its role hears of it


NO_OVERHEADS = Overheads()


@dataclass(frozen=True)
class WorldSpec:
    """What all phases of a run have in common."""

    nodes: Mapping[str, tuple[str, str]]  # node to (role, site)
    links: Mapping[tuple[str, str], LinkSpec]
    profiles: Mapping[str, DeviceProfile]  # "target", "draft"
    seed: int
    drain_ns: int  # how long a phase goes on after its last answer, so that what is in flight arrives
    overheads: Overheads = NO_OVERHEADS


def run_phase(
    spec: WorldSpec,
    entry: PolicyEntry,
    repeat: int,
    planned: Sequence[PlannedRequest],
    table: DecodeTable,
    on_done: Callable[[int], None] = lambda tokens: None,
) -> PhaseLog:
    """Runs one policy over its requests. Raises RunInvalid if it comes to rest, TableMiss if it leaves the table."""
    return World(spec, entry, repeat, planned, table, on_done).run()


class World:
    """One phase. `kernel` may be looked at after `run`."""

    def __init__(
        self,
        spec: WorldSpec,
        entry: PolicyEntry,
        repeat: int,
        planned: Sequence[PlannedRequest],
        table: DecodeTable,
        on_done: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        self.kernel = Kernel()
        self._spec = spec
        self._entry = entry
        self._planned = planned
        self._left = len(planned)
        self._on_done = on_done
        self._links = make_links(spec.links, f"{spec.seed}/{entry.label}/{repeat}")
        policy = registry.get(entry.name)
        params = policy.params.model_validate(entry.params)
        peers: dict[str, list[str]] = {}
        for node, (role, _) in spec.nodes.items():
            peers.setdefault(role, []).append(node)
        self._hosts: dict[str, VirtualHost] = {}
        for node, (role, site) in spec.nodes.items():
            if role in policy.roles:
                self._hosts[node] = VirtualHost(
                    self.kernel,
                    policy.roles[role](params, RoleContext(node, peers)),
                    self._device(table) if role != "user" else None,
                    Recorder(entry.label, repeat, node, site),
                    self._finisher(node) if role == "user" else lambda request: None,
                )
        users = peers["user"]
        self._waiting = {
            user: deque(one for one in planned[index :: len(users)] if one.due_ms is None)
            for index, user in enumerate(users)
        }
        for node, host in self._hosts.items():
            host.paths = {peer: self._path(node, peer) for peer in self._peers(node) if peer in self._hosts}

    def run(self) -> PhaseLog:
        for node in self._hosts:
            self._connect(node)
        users = list(self._waiting)
        for index, one in enumerate(self._planned):
            if one.due_ms is not None:
                self.kernel.at(round(one.due_ms * NS_PER_MS), self._due, (users[index % len(users)], one))
        for user in users:
            self._next(user)
        if self._left:
            self.kernel.run()
        if self._left:
            raise RunInvalid(
                f"{self._entry.label}: nothing is left to happen, but {self._left} requests are unanswered: the policy "
                "waits for something that nobody sends"
            )
        log = PhaseLog()
        for host in self._hosts.values():
            log.extend(host.recorder.log)
        return log

    # --- users ---

    def _next(self, user: str) -> None:
        if self._waiting[user]:
            self._hosts[user].issue(self._waiting[user].popleft(), self.kernel.now_ns)

    def _due(self, due: tuple[str, PlannedRequest]) -> None:
        user, one = due
        self._hosts[user].issue(one, self.kernel.now_ns)

    def _finisher(self, user: str) -> Callable[[int], None]:
        def finished(request: int) -> None:
            now_ns = self.kernel.now_ns
            self._on_done(self._hosts[user].recorder.finished(request, now_ns))
            self._left -= 1
            if self._left:
                # the next request starts by an event of its own, not from inside the role's commands
                self.kernel.at(now_ns, self._next, user)
            else:
                self.kernel.at(now_ns + self._spec.drain_ns, self.kernel.stop)

        return finished

    # --- nodes and links ---

    def _device(self, table: DecodeTable) -> VirtualDevice:
        models = Replay(table)
        for one in self._planned:
            models.bind(one.request, one.prompt_id)
        overhead_ns = round(self._spec.overheads.job_ms * NS_PER_MS)
        return VirtualDevice(self.kernel, models, self._spec.profiles, overhead_ns)

    def _peers(self, node: str) -> list[str]:
        """Connections form a star around the targets, as in emulation."""
        nodes = self._spec.nodes
        targets = {name for name, (role, _) in nodes.items() if role == "target"}
        return sorted(peer for peer in nodes if peer != node and (node in targets) != (peer in targets))

    def _path(self, src: str, dst: str) -> Callable[[Message], None]:
        """How a message of `src` gets to `dst`."""
        kernel, link, arrived = self.kernel, self._links[src, dst], self._hosts[dst].arrived
        overhead_ns = round(self._spec.overheads.message_ms * NS_PER_MS)

        def send(message: Message) -> None:
            now_ns = kernel.now_ns
            size_bytes = framed_size(message)
            at_ns = link.arrival_ns(now_ns, size_bytes) + overhead_ns
            kernel.at(at_ns, arrived, Arrival(src, message, now_ns, at_ns, size_bytes))

        return send

    def _connect(self, node: str) -> None:
        """The round trips that a node knows when the phase starts; on links that vary it goes on measuring."""
        for peer in self._peers(node):
            there, back = self._spec.links[node, peer], self._spec.links[peer, node]
            both = {(node, peer): there, (peer, node): back}
            probes = make_links(both, f"{self._spec.seed}/connect")  # of their own: nothing is under way yet
            for _ in range(SAMPLES_AT_START):
                rtt_ns = probes[node, peer].arrival_ns(0, 0) + probes[peer, node].arrival_ns(0, 0)
                self._hosts[node].sample(LinkSample(peer, self._rtt_ms(rtt_ns)))
            if there.varies or back.varies:
                self.kernel.at(PING_INTERVAL_NS, self._ping, (node, peer))

    def _ping(self, pair: tuple[str, str]) -> None:
        node, peer = pair
        now_ns = self.kernel.now_ns
        self.kernel.at(now_ns + PING_INTERVAL_NS, self._ping, pair)
        there_ns = self._links[node, peer].arrival_ns(now_ns, PING_BYTES)
        self.kernel.at(there_ns, self._pong, (node, peer, now_ns))

    def _pong(self, ping: tuple[str, str, int]) -> None:
        node, peer, sent_ns = ping
        back_ns = self._links[peer, node].arrival_ns(self.kernel.now_ns, PING_BYTES)
        sample = LinkSample(peer, self._rtt_ms(back_ns - sent_ns))
        self.kernel.at(back_ns, self._hosts[node].sample, sample)

    def _rtt_ms(self, path_ns: int) -> float:
        return path_ns / NS_PER_MS + 2 * self._spec.overheads.message_ms


def framed_size(message: Message) -> int:
    """Bytes on the wire, as the emulation frames it."""
    return len(encode(Envelope(TYPICAL_SENT_NS, TYPICAL_SEQUENCE, message)))


PING_BYTES = framed_size(Ping(TYPICAL_SENT_NS))
