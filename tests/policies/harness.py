"""A small deterministic event loop for policies: virtual milliseconds, fake models, real rules.

Every device keeps real token caches, cropped and fed only as commands say, and models read nothing but the cache: a
wrong crop therefore shows as a wrong token. Delivery is in order per ordered pair of nodes, as TCP's is.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from testbed.decoding.rows import SparseRow
from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import DraftChoice, Verdict, draft_choice, verify, verify_greedy
from testbed.policies import api
from testbed.policies.spec import PolicySpec
from testbed.wire.messages import Message

GREEDY = Sampling()


@dataclass(frozen=True)
class Job:
    """A user's request, as the workload gives it."""

    request: int
    prompt: tuple[int, ...]
    max_tokens: int = 40
    eos: tuple[int, ...] = ()
    sampling: Sampling = GREEDY
    at_ms: float = 0.0


class Models(Protocol):
    def verify(self, tokens: Sequence[int], drafts: Sequence[int], command: api.Verify) -> Verdict: ...

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice: ...


def hashed(*key: object) -> float:
    """A reproducible number in [0, 1) for this key."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=6).digest(), "big") / 2**48


@dataclass
class HashModels:
    """A target that is a hash of its context; drafters that agree with it with a given probability.

    The target's entropy flags (exceeds 0.5) 85 % of the positions where the drafter is wrong and 35 % of the others.
    """

    seed: int = 0
    vocabulary: int = 50
    match: float = 0.75
    salts: Mapping[str, int] = field(default_factory=dict)  # by node: drafters of different salt err differently

    def target(self, tokens: Sequence[int]) -> int:
        return int(hashed(self.seed, "target", len(tokens), *tokens[-3:]) * self.vocabulary)

    def drafter(self, tokens: Sequence[int], salt: int = 0) -> int:
        agrees = hashed(self.seed, salt, "match", len(tokens), *tokens[-3:]) < self.match
        return (self.target(tokens) + (0 if agrees else 1)) % self.vocabulary

    def entropy(self, tokens: Sequence[int]) -> float:
        wrong = self.drafter(tokens) != self.target(tokens)
        flagged = hashed(self.seed, "flag", len(tokens), *tokens[-3:]) < (0.85 if wrong else 0.35)
        return 0.5 * flagged + 0.5 * hashed(self.seed, "entropy", len(tokens), *tokens[-3:])

    def verify(self, tokens: Sequence[int], drafts: Sequence[int], command: api.Verify) -> Verdict:
        contexts = [list(tokens[: len(tokens) - len(drafts) + index]) for index in range(len(drafts) + 1)]
        verdict = verify_greedy([self.target(context) for context in contexts], drafts)
        return Verdict(
            verdict.accepted, verdict.tokens, tuple(self.entropy(c) for c in contexts[: verdict.accepted + 1])
        )

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice:
        return DraftChoice(self.drafter(tokens, self.salts.get(node, 0)), 0.1, 0.9)

    def reference(self, job: Job) -> tuple[int, ...]:
        """Target-only greedy decoding."""
        tokens = list(job.prompt)
        while len(tokens) < len(job.prompt) + job.max_tokens:
            tokens.append(self.target(tokens))
            if tokens[-1] in job.eos:
                break
        return tuple(tokens[len(job.prompt) :])


@dataclass
class LogitModels:
    """Models given by a logits function of (which model, context), judged by the real rules."""

    logits: Callable[[str, tuple[int, ...]], np.ndarray]

    def verify(self, tokens: Sequence[int], drafts: Sequence[int], command: api.Verify) -> Verdict:
        first = len(tokens) - len(drafts)
        rows = np.stack([self.logits("target", tuple(tokens[: first + index])) for index in range(len(drafts) + 1)])
        return verify(rows, drafts, command.sampling, command.request, first, command.rows)

    def draft(self, node: str, tokens: Sequence[int], command: api.Draft) -> DraftChoice:
        logits = self.logits("draft", tuple(tokens))
        return draft_choice(logits, command.sampled, command.top_q, command.sampling, command.request, len(tokens))


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
    """Runs one policy: a node per role and peer name, one device per node."""

    spec: PolicySpec
    params: Any
    models: Models
    rtt_ms: float = 0.0  # between the drafter and everyone else
    jitter: Callable[[int], float] = lambda sequence: 0.0  # added to a message's one-way delay
    t_target_ms: float = 23.4
    t_draft_ms: float = 7.5
    drafters: int = 1
    users: int = 1  # requests go round them
    far: str = "drafter"  # the role that `rtt_ms` is away from the others
    limits: api.DeviceLimits = field(default_factory=api.DeviceLimits)
    link_samples: bool = True
    max_events: int = 200_000

    def __post_init__(self) -> None:
        names = {role: (f"{role}0",) for role in self.spec.roles}
        if "drafter" in names:
            names["drafter"] = tuple(f"drafter{index}" for index in range(self.drafters))
        names["user"] = tuple(f"user{index}" for index in range(self.users))
        self.roles = {
            node: self.spec.role(role, self.params, api.RoleContext(node, names, self.limits))
            for role, nodes in names.items()
            for node in nodes
        }
        self.result = Result()
        self._heap: list[tuple[float, int, str, Any]] = []
        self._serial = 0
        self._caches: dict[tuple[str, str, int], list[int]] = {}
        self._running: set[str] = set()
        self._last_arrival: dict[tuple[str, str], float] = defaultdict(float)
        self._timers: dict[tuple[str, str], int] = {}  # which setting of a timer counts

    def run(self, jobs: Sequence[Job]) -> Result:
        if self.link_samples:
            for node in self.roles:
                for peer in self.roles:
                    if node != peer:
                        self._at(0.0, node, api.LinkSample(peer, 2 * self._one_way(node, peer)))
        for job in jobs:
            arrived = api.RequestArrived(job.request, job.prompt, job.max_tokens, job.sampling, job.eos)
            self._at(job.at_ms, f"user{job.request % self.users}", arrived)
        handled = 0
        while self._heap:
            now, _, node, event = heapq.heappop(self._heap)
            if isinstance(event, _Ring):
                if self._timers.get((node, event.name)) != event.serial:
                    continue
                event = api.TimerFired(event.name)
            handled += 1
            assert handled < self.max_events, "the policy never comes to rest"
            self._note(node, event, now)
            for command in self.roles[node].handle(event, now):
                self._do(node, command, now)
        self.result.open_caches = len(self._caches)
        return self.result

    def _at(self, when: float, node: str, event: Any) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, node, event))

    def _note(self, node: str, event: Any, now: float) -> None:
        self.result.end_ms = now
        if isinstance(event, api.RequestArrived):
            self.result.started_ms[event.request] = now
        elif isinstance(event, api.MessageReceived):
            self.result.received.append((event.sender, node, event.message))
        elif isinstance(event, api.DraftReady | api.VerifyReady | api.BatchReady):
            self._running.discard(node)

    def _one_way(self, src: str, dst: str) -> float:
        return self.rtt_ms / 2 if src.startswith(self.far) != dst.startswith(self.far) else 0.0

    def _do(self, node: str, command: api.Command, now: float) -> None:
        match command:
            case api.Send(to, message):
                self.result.sent.append((node, to, message))
                arrival = now + self._one_way(node, to) + self.jitter(self._serial)
                arrival = self._last_arrival[node, to] = max(self._last_arrival[node, to], arrival)
                self._at(arrival, to, api.MessageReceived(node, message))
            case api.Draft():
                self._draft(node, command, now)
            case api.Verify():
                event = self._verify(node, command, now)
                self._start(node)
                self._at(now + self.t_target_ms, node, event)
            case api.VerifyBatch(job, members):
                ready = tuple(self._verify(node, member, now) for member in members)
                self._start(node)
                self._at(now + self.t_target_ms, node, api.BatchReady(job, ready, self.t_target_ms))
            case api.SetTimer(name, at):
                self._timers[node, name] = self._serial + 1
                self._at(max(now, at), node, _Ring(name, self._serial + 1))
            case api.CancelTimer(name):
                self._timers.pop((node, name), None)
            case api.Emit(request, tokens):
                self.result.outputs[request] += tokens
            case api.Finish(request):
                if node.startswith("user"):
                    self.result.finished_ms[request] = now
                for key in [key for key in self._caches if key[0] == node and key[2] == request]:
                    del self._caches[key]
            case _:
                raise NotImplementedError(command)

    def _start(self, node: str) -> None:
        assert node not in self._running, f"{node} issued a second job while one was outstanding"
        self._running.add(node)

    def _cache(self, node: str, model: str, command: api.Draft | api.Verify) -> list[int]:
        assert command.tokens, "a pass needs at least one token"
        cache = self._caches.setdefault((node, model, command.request), [])
        assert command.position <= len(cache), f"crop to {command.position} of {len(cache)} cached tokens"
        del cache[command.position :]
        cache.extend(command.tokens)
        return cache

    def _draft(self, node: str, command: api.Draft, now: float) -> None:
        self._start(node)
        cache, picks = self._cache(node, "draft", command), []
        for step in range(command.steps):
            if step:
                cache.append(picks[-1].token)
            picks.append(self.models.draft(node, cache, command))
            begin = now + step * self.t_draft_ms
            self.result.passes.append(Pass(node, command.request, "draft", begin, begin + self.t_draft_ms))
        duration = command.steps * self.t_draft_ms
        rows: tuple[SparseRow, ...] = tuple(pick.row for pick in picks if pick.row is not None)
        event = api.DraftReady(
            command.job,
            command.request,
            tuple(pick.token for pick in picks),
            tuple(pick.entropy for pick in picks),
            tuple(pick.confidence for pick in picks),
            duration,
            rows,
        )
        self._at(now + duration, node, event)

    def _verify(self, node: str, command: api.Verify, now: float) -> api.VerifyReady:
        cache = self._cache(node, "target", command)
        if command.prefill:
            return api.VerifyReady(command.job, command.request, 0, (), (), self.t_target_ms)
        drafts = cache[len(cache) - command.drafts :]
        assert len(command.tokens) > command.drafts, "the first draft's logits come from the token before it"
        verdict = self.models.verify(cache, drafts, command)
        event = api.VerifyReady(
            command.job, command.request, verdict.accepted, verdict.tokens, verdict.entropies, self.t_target_ms
        )
        self._verified(node, command, now, verdict.accepted, len(verdict.tokens))
        return event

    def _verified(
        self, node: str, command: api.Verify | api.VerifyTree, now: float, accepted: int, emitted: int
    ) -> float:
        """Notes a target pass; returns when it ends."""
        finish = now + self.t_target_ms
        drafts, remote = command.drafts, command.remote_drafts
        self.result.passes.append(Pass(node, command.request, "verify", now, finish, drafts, remote, accepted, emitted))
        return finish
