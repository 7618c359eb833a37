"""A whole deployment in one process: real roles, real framing, real compute rules; tiny made-up models, no pacing."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np

from testbed.models.compute import Compute
from testbed.models.devices import NATIVE, load_profile
from testbed.nodes.batches import Span, member_records, passes_of
from testbed.nodes.jobs import Answer, PassRecord
from testbed.nodes.recorder import PhaseLog, Recorder
from testbed.nodes.rolehost import RoleHost
from testbed.policies import registry
from testbed.policies.api import (
    DeviceLimits,
    Draft,
    DraftBatch,
    DraftTree,
    RoleContext,
    Verify,
    VerifyBatch,
    VerifyTree,
)
from testbed.policies.prefixcaching import PrefixCaching
from testbed.wire.memory import MemoryHub
from testbed.workload.planned import PlannedRequest

VOCABULARY = 5
NODES = {"user0": "user", "target0": "target", "drafter0": "drafter"}
NO_LIMITS = DeviceLimits()
PEERS = {role: [node] for node, role in NODES.items()}


@cache
def _row(salt: str, last: tuple[int, ...]) -> np.ndarray:
    digest = hashlib.blake2b(f"{salt}{last}".encode(), digest_size=VOCABULARY).digest()
    return np.frombuffer(digest, np.uint8).astype(np.float32) / 90.0


class TableRuntime:
    """A "language model" whose logits are a fixed function of the last two tokens; `noise` makes a drafter of it."""

    rows = VOCABULARY
    can_batch = True

    def __init__(self, noise: float = 0.0) -> None:
        self._noise = noise
        self._cached: dict[int, list[int]] = {}

    def logits(self, prefix: tuple[int, ...]) -> np.ndarray:
        return _row("target", prefix[-2:]) + self._noise * _row("draft", prefix[-2:])

    def forward(self, request, position, tokens, last=1):
        cached = self._cached.setdefault(request, [])
        assert position <= len(cached), "fed beyond the cache"
        del cached[position:]
        rows = []
        for token in tokens:
            cached.append(token)
            rows.append(self.logits(tuple(cached)))
        return np.stack(rows[-last:])

    def forward_tree(self, feed):
        self.forward(feed.request, feed.position, feed.tokens)
        paths = {-1: tuple(self._cached[feed.request])}
        for node, (token, parent) in enumerate(zip(feed.nodes, feed.parents, strict=True)):
            paths[node] = (*paths[parent], token)
        return np.stack([self.logits(paths[node]) for node in feed.wanted])

    def forward_batch(self, feeds):
        return [self.forward(one.request, one.position, one.tokens, max(1, one.last)) for one in feeds]

    def begin(self, request, other, length):
        self._cached[request] = self._cached[other][:length]

    def release(self, request):
        self._cached.pop(request, None)


class InlineDevice:
    """Runs a job on the next turn of the loop."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def submit(self, job, on_answer):
        asyncio.get_running_loop().call_soon(self._run, job, time.monotonic_ns(), on_answer)

    def sample(self):
        return None  # nobody shares it

    def release(self, request):
        # after the jobs before it, as a worker does
        asyncio.get_running_loop().call_soon(self._compute.release, request)

    def _run(self, job, submitted_ns, on_answer):
        if isinstance(job, VerifyBatch | DraftBatch):
            profile = load_profile(NATIVE)
            batch: Any
            if isinstance(job, VerifyBatch):
                batch, one = self._compute.verify_batch(job)
                real = [one]
            else:
                batch, real = self._compute.draft_batch(job)
            spans = [Span(one.start_ns, one.end_ns, 0.0, (one.end_ns - one.start_ns) / 1e6, 0.0, 1.0) for one in real]
            on_answer(submitted_ns, Answer(batch, member_records(passes_of(job, profile), spans, profile)))
            return
        run: dict[Any, Any] = {
            Draft: self._compute.draft,
            Verify: self._compute.verify,
            DraftTree: self._compute.draft_tree,
            VerifyTree: self._compute.verify_tree,
        }
        ready, real = run[type(job)](job)
        passes = tuple(
            PassRecord(one.start_ns, one.end_ns, 0.0, (one.end_ns - one.start_ns) / 1e6, 0.0, one.position, one.tokens)
            for one in real
        )
        on_answer(submitted_ns, Answer(ready, passes))


def whole(count: int) -> list[int]:
    """A device that takes any feed in one pass."""
    return [count]


def inline(noise: float = 1.0) -> InlineDevice:
    """Made-up models; `noise` is how far the drafter is from the target."""
    runtimes = {"target": TableRuntime(), "draft": TableRuntime(noise)}
    return InlineDevice(Compute(runtimes, dict.fromkeys(runtimes, whole)))


async def decode(
    policy: str,
    params: dict[str, Any],
    requests: list[PlannedRequest],
    one_way_ms: float = 0.0,
    noise: float = 1.0,
    device: Callable[[], Any] | None = None,
    limits: DeviceLimits = NO_LIMITS,
    keeping: PrefixCaching | None = None,
    in_turn: bool = False,
) -> PhaseLog:
    """All requests at once, or each after the one before, through one policy; returns the merged log of three nodes.

    `device` makes each node's, which has `limits`; otherwise they run made-up models. `keeping`: of those that ended.
    """
    spec = registry.get(policy)
    parsed = spec.params.model_validate(params)
    hub = MemoryHub({(a, b): one_way_ms for a in NODES for b in NODES if a != b})
    recorders, hosts, logs = {}, {}, {}
    left = {one.request for one in requests}
    done = asyncio.Event()

    waiting = iter(requests)

    def issue(one: PlannedRequest) -> None:
        hosts["user0"].issue(one, time.monotonic_ns())

    def arrived(node: str, arrival: Any) -> None:
        hosts[node].arrived(arrival)

    def finished(request: int) -> None:
        recorders["user0"].finished(request, time.monotonic_ns())
        left.discard(request)
        if not left:
            done.set()
        elif in_turn:
            asyncio.get_running_loop().call_soon(issue, next(waiting))

    for node, name in NODES.items():
        if name not in spec.roles:
            continue
        logs[node] = PhaseLog()
        recorders[node] = Recorder(policy, 0, node, node, logs[node])
        hosts[node] = RoleHost(
            spec.role(name, parsed, RoleContext(node, PEERS, limits), keeping=keeping),
            hub.endpoint(node, partial(arrived, node)),
            inline(noise) if device is None else device(),
            recorders[node],
            (min(left), max(left)),
            finished if name == "user" else lambda request: None,
        )
    for node in hosts:
        for peer in hosts:
            if peer != node:
                hosts[node].sample(peer, 2 * one_way_ms)
    for one in islice(waiting, 1 if in_turn else None):
        issue(one)
    async with asyncio.timeout(60):
        await done.wait()
    for host in hosts.values():
        host.stop()
    log = PhaseLog()
    for part in logs.values():
        log.extend(part)
    return log
