"""SLED's server: verification requests queue first come, first served; a pass waits for a full batch and is padded.

Rules:

* a pass starts when `batch` requests wait, when the oldest has waited `wait_ms`, or when every open request waits,
  since then nothing more can come; this last is ours: a static batch would wait for ever for users who have gone;
* prompts are fed ahead, one request per pass: padding a batch to a prompt's length would be wasted;
* a request is admitted with the memory it may need, as in `testbed.policies.admission`;
* a request that comes again, as after a device's fallback, replaces the one of its number: what a running pass says of
  the old one is void.
"""

from __future__ import annotations

from collections import deque

from testbed.policies.admission import Admission
from testbed.policies.api import (
    BatchReady,
    Command,
    Event,
    Finish,
    MessageReceived,
    RoleContext,
    SetTimer,
    Verify,
    VerifyBatch,
)
from testbed.policies.edge.sequence import Sequence
from testbed.policies.sled.params import SledParams
from testbed.wire.messages import Close, Drafts, Request

OLDEST = "oldest"
UNBOUNDED = 1 << 30
ROUNDING_MS = 1e-6  # a timer rings at its nanosecond, which may lie before the float it was set to


class Server:
    def __init__(self, params: SledParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._params = params
        self._most_tokens = context.limits.max_pass_tokens or UNBOUNDED
        self._admission: Admission[Sequence] = Admission(context.limits.kv_capacity_tokens, UNBOUNDED)
        self._queue: dict[int, tuple[float, tuple[int, ...]]] = {}  # request to (since, drafts), oldest first
        self._prompts: deque[Sequence] = deque()  # of admitted requests, to be fed
        self._verifying: frozenset[int] = frozenset()
        self._in_pass: dict[int, Sequence] = {}  # members of the running pass
        self._jobs = 0
        self._busy = False

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case MessageReceived(sender, Request() as request):
                self._opened(Sequence(request, sender, self._prefixes))
            case MessageReceived(_, Drafts(request, position, tokens)):
                self._enqueue(request, position, tokens, now)
            case MessageReceived(_, Close(request)):
                commands += self._closed(request)
            case BatchReady():
                self._busy = False
                commands += self._settle(event)
        self._prompts += self._admission.admit()
        if not self._busy:
            commands += self._prefill() or self._verify(now)
        return commands

    def _opened(self, sequence: Sequence) -> None:
        number = sequence.request.request
        old = self._admission.find(number)
        if old is None:
            self._admission.arrive(sequence)
            return
        self._admission.replace(sequence)
        self._forget(old)
        if number in self._admission.running:
            self._prompts.append(sequence)

    def _closed(self, request: int) -> list[Command]:
        """Its device has all it wants. Caches that a running pass uses are released after it."""
        old = self._admission.find(request)
        if old is None:
            return []
        self._admission.withdraw(request)
        self._forget(old)
        return [] if request in self._in_pass else [Finish(request)]

    def _forget(self, old: Sequence) -> None:
        number = old.request.request
        self._queue.pop(number, None)
        self._verifying -= {number}
        if old in self._prompts:
            self._prompts.remove(old)

    def _enqueue(self, request: int, position: int, drafts: tuple[int, ...], now: float) -> None:
        sequence = self._admission.find(request)
        if sequence is None or position < len(sequence.validated) or request in self._verifying:
            return  # asked again for what is answered or under way
        since, _ = self._queue.get(request, (now, ()))
        self._queue[request] = (since, drafts)  # asked again while it waits: it keeps its place

    def _settle(self, event: BatchReady) -> list[Command]:
        self._verifying, in_pass, self._in_pass = frozenset(), self._in_pass, {}
        commands: list[Command] = []
        for ready in event.members:
            sequence = in_pass[ready.request]
            now_known = self._admission.find(ready.request)
            if now_known is not sequence:  # replaced or closed since
                commands += [Finish(ready.request)] if now_known is None else []
                continue
            commands += sequence.settle(ready)
            if sequence.done:
                self._admission.leave(ready.request)
        return commands

    def _prefill(self) -> list[Command]:
        """The first prompt that is not all in but its last token, which goes with the first drafts."""
        while self._prompts:
            sequence = self._prompts[0]
            missing = sequence.uncached - 1
            if missing > 0:
                return self._start((sequence.prefill(self._jobs, min(missing, self._most_tokens)),))
            self._prompts.popleft()
        return []

    def _verify(self, now: float) -> list[Command]:
        params, running = self._params, self._admission.running
        full = min(params.batch, len(running))
        if not self._queue or (params.wait_ms is None and len(self._queue) < full):
            return []
        ready = {number: queued for number, queued in self._queue.items() if number in running}
        if not ready:
            return []
        if len(ready) < full:
            if params.wait_ms is None:
                return []
            due = next(iter(ready.values()))[0] + params.wait_ms
            if now < due - ROUNDING_MS:
                return [SetTimer(OLDEST, due)]
        members: list[Verify] = []
        longest = 0
        for number, (_, drafts) in ready.items():
            kept = drafts[: running[number].depth(len(drafts))]
            longest = max(longest, len(kept) + 1)
            if len(members) == params.batch or (len(members) + 1) * longest > self._most_tokens:
                break
            members.append(running[number].verify(self._jobs, kept, remote_drafts=len(kept)))
            del self._queue[number]
        self._verifying = frozenset(member.request for member in members)
        return self._start(tuple(members))

    def _start(self, members: tuple[Verify, ...]) -> list[Command]:
        batch = VerifyBatch(self._jobs, members, padded=True)
        self._in_pass = {one.request: self._admission.running[one.request] for one in members}
        self._busy = True
        self._jobs += 1
        return [batch]
