"""One policy phase in virtual time: nodes, links and users put together, run until every request has its answer.

Rule kept: what a phase does follows from its arguments alone; its clock starts at 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.decoding.rng import device_seed
from testbed.errors import RunInvalid
from testbed.experiment.faults import NodeStop
from testbed.experiment.policyentry import PolicyEntry
from testbed.models.devices import DeviceProfile
from testbed.nodes.capacity import Capacity, limits_of
from testbed.nodes.recorder import PhaseLog, Recorder, RequestRecorder
from testbed.nodes.tenants import ALONE, Tenants
from testbed.nodes.virtualdevice import VirtualDevice
from testbed.policies.api import DEVICE_SAMPLE_INTERVAL_MS, LinkSample, RoleContext
from testbed.policies.prefixcaching import PrefixCaching
from testbed.policies.routing.options import Routing
from testbed.simulation.host import VirtualHost
from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.tcp.estimate import MIN_RTO_NS
from testbed.simulation.tcp.path import Path
from testbed.simulation.ways import PING_BYTES, Constant, Way, carriers
from testbed.system.units import NS_PER_MS
from testbed.tables.replay import Replay
from testbed.tables.table import DecodeTable
from testbed.wire.messages import PING_INTERVAL_MS, PINGS_AT_CONNECT, Message
from testbed.workload.background import Background
from testbed.workload.planned import PlannedRequest, by_user

PING_INTERVAL_NS = PING_INTERVAL_MS * NS_PER_MS
DEVICE_SAMPLE_INTERVAL_NS = DEVICE_SAMPLE_INTERVAL_MS * NS_PER_MS


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
    issue_until_ns: int | None = None  # a user whose previous request ends later issues none any more; None: all do
    stops: tuple[NodeStop, ...] = ()  # nodes that fall silent
    # No request ends for so long: those that are open are given up. None: nothing is gone for good, so none is.
    patience_ns: int | None = None
    background: Callable[[int], Mapping[str, Background]] = lambda repeat: {}  # other tenants, by node
    routing: Mapping[str, Routing | None] = field(default_factory=dict)  # of a policy, by its label
    keeping: PrefixCaching | None = None  # what models keep of requests that ended
    detailed: bool = True  # False: the log has requests alone, as for a search over many fleets


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
    """One phase. `kernel` and `given_up` may be looked at after `run`."""

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
        self.given_up: tuple[int, ...] = ()  # requests without an answer, as something they needed was taken away
        self._ended_ns = 0  # when a request last ended
        self._spec = spec
        self._entry = entry
        self._repeat = repeat
        self._planned = planned
        self._left = len(planned)
        self._on_done = on_done
        self._replays: list[Replay] = []
        # each link has its own seed, so leaving out those that carry nothing changes none of the others
        used = {pair: spec.links[pair] for node in spec.nodes for peer in self._peers(node) for pair in [(node, peer)]}
        self._carriers = carriers(self.kernel, used, f"{spec.seed}/{entry.label}/{repeat}")
        self._policy = entry.spec
        self._routing = spec.routing.get(entry.label)
        self._params = self._policy.params.model_validate(entry.params)
        self._table = table
        peers: dict[str, list[str]] = {}
        for node, (role, _) in spec.nodes.items():
            peers.setdefault(role, []).append(node)
        self._role_peers = peers
        self._by_user = by_user(planned, peers["user"])
        self._background = spec.background(repeat)
        recorder = Recorder if spec.detailed else RequestRecorder
        self._logs: list[PhaseLog] = []  # by node, in their order: what is merged at the end
        self._hosts: dict[str, VirtualHost] = {}
        for node, (role, site) in spec.nodes.items():
            if role in self._policy.roles:
                self._logs.append(PhaseLog())
                self._hosts[node] = self._host(node, recorder(entry.label, repeat, node, site, self._logs[-1]))
        self._waiting = {
            user: deque(one for one in of_user if one.due_ms is None) for user, of_user in self._by_user.items()
        }
        for node, host in self._hosts.items():
            host.paths = {peer: self._path(node, peer) for peer in self._peers(node) if peer in self._hosts}

    def _host(self, node: str, recorder: Recorder) -> VirtualHost:
        """The node with a role that knows nothing yet."""
        role, policy = self._spec.nodes[node][0], self._policy
        limits = limits_of(self._spec.profiles["target"], self._background.get(node))
        return VirtualHost(
            self.kernel,
            policy.role(
                role,
                self._params,
                RoleContext(node, self._role_peers, limits),
                self._entry.label,
                self._routing,
                self._spec.keeping,
            ),
            self._device(self._table, node) if role != "user" or role in policy.models else None,
            recorder,
            self._finisher(node) if role == "user" else lambda request: None,
            Capacity(node, limits) if role == "target" else None,
        )

    def run(self) -> PhaseLog:
        for node in self._hosts:
            self._connect(node)
        if self._policy.device_samples(self._params):
            for node in self._background:
                self.kernel.at(DEVICE_SAMPLE_INTERVAL_NS, self._sample_device, node)
        timed = set()
        user_of = {one.request: user for user, of_user in self._by_user.items() for one in of_user}
        for one in self._planned:
            if one.due_ms is not None:
                timed.add(user_of[one.request])
                self.kernel.at(round(one.due_ms * NS_PER_MS), self._due, (user_of[one.request], one))
        for user in self._waiting:
            if user not in timed:  # a user whose first request has a due time goes on when that has ended
                self._next(user)
        for stop in self._spec.stops:
            self.kernel.at(stop.at_ns, self._stop, stop.node)
        if self._spec.patience_ns is not None:
            self.kernel.at(self._spec.patience_ns, self._look)
        if self._left:
            self.kernel.run()
        if self._left and self._spec.patience_ns is None:
            raise RunInvalid(
                f"{self._entry.label}: deadlock: no event is left, but {self._left} requests are unanswered; the "
                "policy waits for something that is never sent"
            )
        log = PhaseLog()
        for part in self._logs:
            log.extend(part)
        if self._left:
            self.given_up = tuple(
                sorted({one.request for one in self._planned} - {row.request for row in log.requests})
            )
        lookups = sum(models.tree_lookups for models in self._replays)
        if lookups:
            log.lookups[self._entry.label] = lookups, sum(models.approximated_lookups for models in self._replays)
        return log

    # --- users ---

    def _next(self, user: str) -> None:
        waiting = self._waiting[user]
        until_ns = self._spec.issue_until_ns
        if waiting and until_ns is not None and self.kernel.now_ns >= until_ns:
            self._left -= len(waiting)
            waiting.clear()
            if not self._left:
                self._end()
        elif waiting:
            one = waiting.popleft()
            if one.think_ms:
                self.kernel.at(self.kernel.now_ns + round(one.think_ms * NS_PER_MS), self._due, (user, one))
            else:
                self._hosts[user].issue(one, self.kernel.now_ns)

    def _due(self, due: tuple[str, PlannedRequest]) -> None:
        user, one = due
        self._hosts[user].issue(one, self.kernel.now_ns)

    def _finisher(self, user: str) -> Callable[[int], None]:
        def finished(request: int) -> None:
            now_ns = self.kernel.now_ns
            self._on_done(self._hosts[user].recorder.finished(request, now_ns))
            self._left -= 1
            self._ended_ns = now_ns
            if self._left:
                # the next request starts by its own event, not from inside the role's commands
                self.kernel.at(now_ns, self._next, user)
            else:
                self._end()

        return finished

    def _end(self) -> None:
        """All is answered; what is in flight may still arrive."""
        self.kernel.at(self.kernel.now_ns + self._spec.drain_ns, self.kernel.stop)

    def _look(self, _: object) -> None:
        """The longest wait for something that does not arrive."""
        assert self._spec.patience_ns is not None
        until_ns = self._ended_ns + self._spec.patience_ns
        if until_ns <= self.kernel.now_ns:
            self.kernel.stop()
        else:
            self.kernel.at(until_ns, self._look)

    def _sample_device(self, node: str) -> None:
        if node in self._hosts:
            self._hosts[node].sample_device()
            self.kernel.at(self.kernel.now_ns + DEVICE_SAMPLE_INTERVAL_NS, self._sample_device, node)

    def _stop(self, node: str) -> None:
        if node in self._hosts:  # a policy need not use every node
            self._hosts[node].stopped = True

    # --- nodes and links ---

    def _device(self, table: DecodeTable, node: str) -> VirtualDevice:
        models = self._models(table)
        self._replays.append(models)
        # a user's own device only ever meets that user's requests
        for one in self._by_user.get(node, self._planned):
            models.bind(one.request, one.prompt_id, one.sampling)
        overhead_ns = round(self._spec.overheads.job_ms * NS_PER_MS)
        seed = device_seed(self._spec.seed, self._repeat, node)
        background = self._background.get(node)
        tenants = ALONE if background is None else Tenants(background, self._spec.profiles[background.model], 0)
        return VirtualDevice(self.kernel, models, self._spec.profiles, overhead_ns, self._spec.detailed, seed, tenants)

    def _models(self, table: DecodeTable) -> Replay:
        return Replay(table)

    def _peers(self, node: str) -> list[str]:
        """Connections form a star around the targets, as in emulation."""
        nodes = self._spec.nodes
        targets = {name for name, (role, _) in nodes.items() if role == "target"}
        return sorted(peer for peer in nodes if peer != node and (node in targets) != (peer in targets))

    def _path(self, src: str, dst: str) -> Callable[[Message], None]:
        """How a message of `src` gets to `dst`."""
        overhead_ns = round(self._spec.overheads.message_ms * NS_PER_MS)
        carrier, arrived = self._carriers[src, dst], self._hosts[dst].arrived
        return Way(self.kernel, carrier, src, arrived, overhead_ns, self._spec.detailed).send

    def _connect(self, node: str) -> None:
        """The round trips that a node knows when the phase starts; on links that vary it goes on measuring.

        So it does where a target may fall silent and a user would leave it; elsewhere pings would say nothing new.
        """
        seed = f"{self._spec.seed}/connect"
        watched = self._routing is not None and self._routing.failover_ms is not None
        for peer in self._peers(node):
            there, back = self._spec.links[node, peer], self._spec.links[peer, node]
            # paths of their own: nothing is under way yet
            out, home = Path(there, f"{seed}/{node}/{peer}"), Path(back, f"{seed}/{peer}/{node}")
            for _ in range(PINGS_AT_CONNECT):
                self._hosts[node].sample(LinkSample(peer, self._rtt_ms(_round_trip_ns(out, home))))
            if there.varies or back.varies or watched:
                self.kernel.at(PING_INTERVAL_NS, self._ping, (node, peer))

    def _ping(self, pair: tuple[str, str]) -> None:
        node, peer = pair
        now_ns = self.kernel.now_ns
        self.kernel.at(now_ns + PING_INTERVAL_NS, self._ping, pair)
        if not self._stopped(node):
            self._carry((node, peer), self._pong, (node, peer, now_ns))

    def _pong(self, ping: tuple[str, str, int]) -> None:
        node, peer, _ = ping
        if not self._stopped(peer):
            self._carry((peer, node), self._answered, ping)

    def _answered(self, ping: tuple[str, str, int]) -> None:
        node, peer, sent_ns = ping
        sample = LinkSample(peer, self._rtt_ms(self.kernel.now_ns - sent_ns))
        self.kernel.at(self.kernel.now_ns, self._hosts[node].sample, sample)

    def _carry(self, pair: tuple[str, str], then: Callable[[Any], None], what: tuple[str, str, int]) -> None:
        """A ping's way in one direction."""
        carrier = self._carriers[pair]
        if isinstance(carrier, Constant):
            self.kernel.at(carrier.arrives_ns(self.kernel.now_ns, PING_BYTES), then, what)
        else:
            carrier.send(PING_BYTES, then, what)

    def _stopped(self, node: str) -> bool:
        return node in self._hosts and self._hosts[node].stopped

    def _rtt_ms(self, path_ns: int) -> float:
        return path_ns / NS_PER_MS + 2 * self._spec.overheads.message_ms


def _round_trip_ns(out: Path, home: Path) -> int:
    """Of a ping on an idle connection; one that is lost is sent again after a timeout."""
    lost_ns = 0
    while True:
        at_ns = out.arrives_ns(0, PING_BYTES)
        back_ns = None if at_ns is None else home.arrives_ns(at_ns, PING_BYTES)
        if back_ns is not None:
            return back_ns + lost_ns
        lost_ns += lost_ns + MIN_RTO_NS
