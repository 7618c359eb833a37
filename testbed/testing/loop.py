"""A deterministic event loop that runs one policy against stand-in models, in virtual milliseconds.

Every device keeps real token caches, cropped and fed only as commands say, and models read nothing but the cache: a
wrong crop shows as a wrong token. Of a draft tree only the text stays cached; the loop counts what a device that caches
trees would have to process. Messages arrive in order per directed link, as over TCP. What no device could carry out is
raised as `Broken`.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import inf
from typing import Any, assert_never

import numpy as np

from testbed.decoding.rows import SparseRow
from testbed.decoding.tree import check_tree, depths, verify_tree_greedy
from testbed.decoding.verify import DraftChoice
from testbed.errors import RunInvalid
from testbed.policies import api
from testbed.policies.prefixcaching import PrefixCaching
from testbed.policies.routing.options import Routing
from testbed.policies.spec import PolicySpec
from testbed.testing.models import Job, Models, TreeModels
from testbed.wire.messages import PING_INTERVAL_MS, Message

Context = tuple[int, ...]
_Pass = api.Draft | api.Verify | api.DraftTree | api.VerifyTree  # of one request


class Broken(RunInvalid):
    """A policy broke a property that every policy must keep; `property_` is its name."""

    def __init__(self, property_: str, words: str) -> None:
        super().__init__(words)
        self.property_ = property_


@dataclass(frozen=True)
class Pass:
    node: str
    request: int
    kind: str  # "draft" or "verify"
    started_ms: float
    finished_ms: float
    drafts: int = 0
    remote_drafts: int = 0
    accepted: int = 0
    emitted: int = 0


@dataclass
class Result:
    outputs: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    finished_ms: dict[int, float] = field(default_factory=dict)
    started_ms: dict[int, float] = field(default_factory=dict)
    passes: list[Pass] = field(default_factory=list)
    sent: list[tuple[str, str, Message]] = field(default_factory=list)
    received: list[tuple[str, str, Message]] = field(default_factory=list)
    open_caches: int = 0
    end_ms: float = 0.0

    def count(self, kind: str, node: str = "target0") -> int:
        return sum(1 for each in self.passes if each.kind == kind and each.node == node)

    def latency_ms(self) -> float:
        return float(np.median([self.finished_ms[r] - self.started_ms[r] for r in self.finished_ms]))


@dataclass(frozen=True)
class _Ring:
    """A timer set earlier is due, unless it was set again or called off since."""

    name: str
    serial: int


@dataclass
class Loop:
    """Runs one policy: one node per role and peer name, one device per node.

    Times are milliseconds. `jitter` is added to a message's one-way delay, by its serial number. `far` is the role that
    is `rtt_ms` away from the others. `fresh_tokens`: by tree job, tokens charged and tokens that a device caching trees
    would have to process; `tree_nodes`: of each tree verification; `tree_leaves`: of each tree draft.
    """

    spec: PolicySpec
    params: Any
    models: Models
    rtt_ms: float = 0.0
    jitter: Callable[[int], float] = lambda serial: 0.0
    t_target_ms: float = 23.4
    t_draft_ms: float = 7.5
    drafters: int = 1
    users: int = 1  # requests go to them round-robin
    targets: int = 1
    routing: Routing | None = None
    keeping: PrefixCaching | None = None  # what models keep of requests that ended
    ways_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)  # round trip of a user and a target
    stopped: Mapping[str, float] = field(default_factory=dict)  # node to when it falls silent for good
    cuts: Mapping[tuple[str, str], float] = field(default_factory=dict)  # pair to when it is cut for good, both ways
    pings_until_ms: float = 0.0  # every PING_INTERVAL_MS, where `link_samples`
    far: str = "drafter"
    limits: api.DeviceLimits = field(default_factory=api.DeviceLimits)
    link_samples: bool = True
    max_events: int = 200_000
    fresh_tokens: list[tuple[int, int]] = field(default_factory=list)
    tree_nodes: list[int] = field(default_factory=list)
    tree_leaves: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        names: dict[str, tuple[str, ...]] = {role: (f"{role}0",) for role in self.spec.roles}
        if "drafter" in names:
            names["drafter"] = tuple(f"drafter{index}" for index in range(self.drafters))
        names["user"] = tuple(f"user{index}" for index in range(self.users))
        names["target"] = tuple(f"target{index}" for index in range(self.targets))
        self.roles: dict[str, api.Role] = {
            node: self.spec.role(
                role, self.params, api.RoleContext(node, names, self.limits), routing=self.routing, keeping=self.keeping
            )
            for role, nodes in names.items()
            for node in nodes
        }
        self.result = Result()
        self._heap: list[tuple[float, int, str, Any]] = []
        self._serial = 0
        self._caches: dict[tuple[str, str, int], list[int]] = {}
        self._held: dict[tuple[str, str, int], set[Context]] = {}  # contexts that a device caching trees would hold
        self._running: set[str] = set()
        self._last_arrival: dict[tuple[str, str], float] = defaultdict(float)
        self._timers: dict[tuple[str, str], int] = {}  # which setting of a timer counts

    def run(self, jobs: Sequence[Job]) -> Result:
        if self.link_samples:
            for ping in range(1 + int(self.pings_until_ms // PING_INTERVAL_MS)):
                for node, peer in permutations(self.roles, 2):
                    sent, rtt_ms = float(ping * PING_INTERVAL_MS), 2 * self._one_way(node, peer)
                    if not ping or sent < min(self.stopped.get(peer, inf), self._cut(node, peer)):
                        self._at(sent + rtt_ms if ping else 0.0, node, api.LinkSample(peer, rtt_ms))
        for job in jobs:
            arrived = api.RequestArrived(
                job.request, job.prompt, job.max_tokens, job.sampling, job.eos, job.slo_tokens_per_s
            )
            self._at(job.at_ms, f"user{job.request % self.users}", arrived)
        handled = 0
        while self._heap:
            now, _, node, event = heapq.heappop(self._heap)
            if now >= self.stopped.get(node, inf):
                continue
            if isinstance(event, _Ring):
                if self._timers.get((node, event.name)) != event.serial:
                    continue
                event = api.TimerFired(event.name)
            handled += 1
            if handled > self.max_events:
                raise Broken("no deadlock", f"the policy never comes to rest: {handled} events and still more")
            self._note(node, event, now)
            for command in self._handle(node, event, now):
                self._do(node, command, now)
        self.result.open_caches = len(self._caches)
        return self.result

    def _handle(self, node: str, event: api.Event, now: float) -> list[api.Command]:
        return self.roles[node].handle(event, now)

    def _at(self, when: float, node: str, event: Any) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, node, event))

    def _note(self, node: str, event: Any, now: float) -> None:
        self.result.end_ms = now
        if isinstance(event, api.RequestArrived):
            self.result.started_ms[event.request] = now
        elif isinstance(event, api.MessageReceived):
            self.result.received.append((event.sender, node, event.message))
        elif isinstance(event, api.JobDone):
            self._running.discard(node)

    def _cut(self, node: str, peer: str) -> float:
        return min(self.cuts.get((node, peer), inf), self.cuts.get((peer, node), inf))

    def _one_way(self, src: str, dst: str) -> float:
        if (way := self.ways_ms.get((src, dst), self.ways_ms.get((dst, src)))) is not None:
            return way / 2
        return self.rtt_ms / 2 if src.startswith(self.far) != dst.startswith(self.far) else 0.0

    def _do(self, node: str, command: api.Command, now: float) -> None:
        match command:
            case api.Send(to, message):
                self.result.sent.append((node, to, message))
                if now >= self._cut(node, to):
                    return
                arrival = now + self._one_way(node, to) + self.jitter(self._serial)
                arrival = self._last_arrival[node, to] = max(self._last_arrival[node, to], arrival)
                self._at(arrival, to, api.MessageReceived(node, message))
            case api.Draft() | api.DraftTree():
                self._start(node)
                drafted = self._drafted(node, command, now)
                self._at(now + drafted.duration_ms, node, drafted)
            case api.DraftBatch(job, members):
                self._start(node)
                done = tuple(self._drafted(node, member, now) for member in members)
                duration = max(one.duration_ms for one in done)
                self._at(now + duration, node, api.DraftBatchReady(job, done, duration))
            case api.Verify() | api.VerifyTree():
                self._start(node)
                self._at(now + self.t_target_ms, node, self._verdict(node, command, now))
            case api.VerifyBatch(job, members):
                self._start(node)
                ready = tuple(self._verdict(node, member, now) for member in members)
                self._at(now + self.t_target_ms, node, api.BatchReady(job, ready, self.t_target_ms))
            case api.SetTimer(name, at):
                self._timers[node, name] = self._serial + 1
                self._at(max(now, at), node, _Ring(name, self._serial + 1))
            case api.CancelTimer(name):
                self._timers.pop((node, name), None)
            case api.Emit(request, tokens):
                self.result.outputs[request] += tokens
            case api.Finish(request, kept):
                if node.startswith("user"):
                    self.result.finished_ms[request] = now
                if not kept:
                    self._release(node, request)
            case api.Evict(request):
                self._release(node, request)
            case _:
                assert_never(command)

    def _release(self, node: str, request: int) -> None:
        for key in [key for key in self._caches if key[0] == node and key[2] == request]:
            del self._caches[key]

    def _start(self, node: str) -> None:
        _require(node not in self._running, f"{node} issued a second job while one was outstanding")
        self._running.add(node)

    def _cache(self, node: str, model: str, command: _Pass) -> list[int]:
        _require(bool(command.tokens), f"{node}: a pass needs at least one token")
        if command.prefix_of is not None:
            donor = self._caches.get((node, model, command.prefix_of), [])
            held = len(donor)
            _require(command.position <= held, f"{node}: begin with {command.position} of {held} tokens that are kept")
            self._caches[node, model, command.request] = donor[: command.position]
        cache = self._caches.setdefault((node, model, command.request), [])
        held = len(cache)
        _require(command.position <= held, f"{node}: crop to {command.position} of {held} cached tokens")
        del cache[command.position :]
        cache.extend(command.tokens)
        return cache

    def _drafted(
        self, node: str, command: api.Draft | api.DraftTree, now: float
    ) -> api.DraftReady | api.TreeDraftReady:
        return self._draft(node, command, now) if isinstance(command, api.Draft) else self._tree(node, command, now)

    def _verdict(self, node: str, command: api.Verify | api.VerifyTree, now: float) -> api.VerifyReady:
        if isinstance(command, api.Verify):
            return self._verify(node, command, now)
        return self._verify_tree(node, command, now)

    def _hold(self, node: str, model: str, request: int, text: Sequence[int]) -> None:
        """A part of a text is in: a device that caches trees holds it too."""
        held = self._held.setdefault((node, model, request), set())
        held |= {tuple(text[:length]) for length in range(1, len(text) + 1)}

    def _draft(self, node: str, command: api.Draft, now: float) -> api.DraftReady:
        cache = self._cache(node, "draft", command)
        if not command.steps:
            self._hold(node, "draft", command.request, cache)
            return api.DraftReady(command.job, command.request, (), (), (), self.t_draft_ms)
        picks: list[DraftChoice] = []
        for step in range(command.steps):
            if step:
                cache.append(picks[-1].token)
            picks.append(self.models.draft(node, cache, command))
            begin = now + step * self.t_draft_ms
            self.result.passes.append(Pass(node, command.request, "draft", begin, begin + self.t_draft_ms))
        duration = command.steps * self.t_draft_ms
        rows: tuple[SparseRow, ...] = tuple(pick.row for pick in picks if pick.row is not None)
        confidences = tuple(pick.confidence for pick in picks)
        margins = tuple(0.8 * sure for sure in confidences) if command.features else ()
        return api.DraftReady(
            command.job,
            command.request,
            tuple(pick.token for pick in picks),
            tuple(pick.entropy for pick in picks),
            confidences,
            duration,
            rows,
            margins,
            tuple(8.0 * margin for margin in margins),
        )

    def _verify(self, node: str, command: api.Verify, now: float) -> api.VerifyReady:
        cache = self._cache(node, "target", command)
        if command.prefill:
            self._hold(node, "target", command.request, cache)
            return api.VerifyReady(command.job, command.request, 0, (), (), self.t_target_ms)
        drafts = cache[len(cache) - command.drafts :]
        _require(
            len(command.tokens) > command.drafts,
            f"{node}: all {command.drafts} fed tokens are drafts; the first one is judged by the logits of the token "
            "before it, so feed that too",
        )
        verdict = self.models.verify(cache, drafts, command)
        event = api.VerifyReady(
            command.job, command.request, verdict.accepted, verdict.tokens, verdict.entropies, self.t_target_ms
        )
        self._verified(node, command, now, verdict.accepted, len(verdict.tokens))
        return event

    def _verified(
        self, node: str, command: api.Verify | api.VerifyTree, now: float, accepted: int, emitted: int
    ) -> None:
        """Notes a target pass."""
        finish = now + self.t_target_ms
        drafts, remote = command.drafts, command.remote_drafts
        self.result.passes.append(Pass(node, command.request, "verify", now, finish, drafts, remote, accepted, emitted))

    # --- trees of drafts ---

    def _tree_models(self) -> TreeModels:
        assert isinstance(self.models, TreeModels), "these models know no trees"
        return self.models

    def _contexts(self, node: str, model: str, command: api.DraftTree | api.VerifyTree) -> list[Context]:
        """The text, then the text with each node's path."""
        try:
            check_tree(command.nodes, command.parents)
        except ValueError as error:
            raise Broken("conservation", f"{node}: {error}") from error
        text = tuple(self._cache(node, model, command))
        found = [text]
        for token, parent in zip(command.nodes, command.parents, strict=True):
            found.append((*found[parent + 1], token))
        held = self._held.setdefault((node, model, command.request), set())
        needed = {text[:length] for length in range(1, len(text) + 1)} | set(found[1:])
        self.fresh_tokens.append((command.fresh, max(1, len(needed - held))))
        # What is not on a path of the text and this tree was cut; whether a device frees it, nobody asks for it again.
        held |= needed
        return found

    def _tree(self, node: str, command: api.DraftTree, now: float) -> api.TreeDraftReady:
        models, contexts = self._tree_models(), self._contexts(node, "draft", command)
        leaves = [contexts[leaf + 1] for leaf in command.leaves]
        tops = [models.top(node, context) for context in leaves]
        self.tree_leaves.append(len(leaves))
        finish = now + self.t_draft_ms
        self.result.passes.append(Pass(node, command.request, "draft", now, finish))
        return api.TreeDraftReady(
            command.job,
            command.request,
            tuple(models.choices(node, context, command.width) for context in leaves),
            tuple(tuple(top * (1 - top) ** rank for rank in range(command.width)) for top in tops),
            tuple(models.draft_entropy(node, context) for context in leaves),
            self.t_draft_ms,
        )

    def _verify_tree(self, node: str, command: api.VerifyTree, now: float) -> api.VerifyReady:
        models, contexts = self._tree_models(), self._contexts(node, "target", command)
        depth = max(depths(command.parents), default=0)
        _require(command.drafts == depth, f"{node}: drafts={command.drafts} of a tree that is {depth} deep")
        verdict = verify_tree_greedy([models.target(context) for context in contexts], command.nodes, command.parents)
        path = [contexts[0]]  # what each emitted token was chosen after
        for token in verdict.tokens[:-1]:
            path.append((*path[-1], token))
        self.tree_nodes.append(len(command.nodes))
        self._verified(node, command, now, verdict.accepted, len(verdict.tokens))
        entropies = tuple(models.entropy(context) for context in path)
        return api.VerifyReady(
            command.job, command.request, verdict.accepted, verdict.tokens, entropies, self.t_target_ms
        )


def _require(holds: bool, words: str) -> None:
    """Of what a device needs to carry a command out."""
    if not holds:
        raise Broken("conservation", words)
