"""WISP's server: verifications queue, a scheduler forms each target pass by their deadlines, an estimator times it.

Prompts are fed ahead in parts, as work without a deadline; the drafts of a request whose prompt is not all in wait for
it. A request takes the memory it may ever need with its first pass; until then it holds none.
"""

from __future__ import annotations

from testbed.errors import BadInput, RunInvalid
from testbed.policies.api import (
    BatchReady,
    Command,
    Event,
    MessageReceived,
    RoleContext,
    Verify,
    VerifyBatch,
    VerifyTree,
)
from testbed.policies.edge.sequence import Sequence
from testbed.policies.wisp.client import Client
from testbed.policies.wisp.estimator import Load, PassTime, Refit, fit, load_of, timed
from testbed.policies.wisp.params import WispParams
from testbed.policies.wisp.scheduler import NEVER, Parts, Room, next_batch
from testbed.wire.messages import Drafts, Request, Slo

UNKNOWN = PassTime(0.0, 0.0, 0.0, 0.0)  # before anything is known of the device, all is in time
FCFS = Parts(False, False, False)


class Server:
    def __init__(self, params: WispParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        profiled = context.limits.profiled
        if params.estimator == "profiled" and not profiled:
            raise BadInput("wisp: the target's device has no profiled passes to fit; set estimator: online")
        self._params = params
        self._estimate = Refit(fit(timed(profiled)) if profiled else None)
        self._memory = context.limits.kv_capacity_tokens
        most = [limit for limit in (context.limits.max_pass_tokens, params.pass_tokens) if limit is not None]
        self._tokens = min(most, default=None)
        self._prefill = min([params.prefill_tokens, *most])
        self._rates: dict[int, float] = {}
        self._clients: dict[int, Client] = {}
        self._active: dict[int, Client] = {}  # those that wait for something, or may
        self._held = 0  # tokens of memory taken
        self._running: VerifyBatch | None = None
        self._jobs = 0

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        if type(event) is MessageReceived:
            message = event.message
            if type(message) is Drafts:
                client = self._clients.get(message.request)
                if client is not None:
                    client.ask(message.position, message.tokens, now)
                    self._active[message.request] = client
            elif type(message) is Slo:
                self._rates[message.request] = message.tokens_per_s
            elif type(message) is Request:
                rate = self._rates.pop(message.request, None)
                self._open(Client(Sequence(message, event.sender, self._prefixes), rate, now))
        elif type(event) is BatchReady:
            commands += self._settle(event, now)
        if self._running is None:
            commands += self._next_pass(now)
        return commands

    def _open(self, client: Client) -> None:
        needed = client.sequence.reserved
        number = client.request.request
        if self._memory is not None and needed > self._memory:
            raise RunInvalid(
                f"request {number} may need {needed} tokens of cache, but the target's device holds {self._memory}: "
                "it could never be served; use shorter outputs or another device"
            )
        self._clients[number] = self._active[number] = client

    def _settle(self, event: BatchReady, now: float) -> list[Command]:
        assert self._running is not None and self._running.job == event.job
        members = self._running.members
        self._running = None
        if self._params.estimator == "online":
            self._estimate.observe(_load(members), event.duration_ms)
        commands: list[Command] = []
        for member, ready in zip(members, event.members, strict=True):
            client = self._clients[ready.request]
            commands += client.settle(ready, member.drafts, now)
            if client.sequence.done:
                self._held -= client.sequence.reserved
                del self._clients[ready.request]
                self._active.pop(ready.request, None)
        return commands

    def _next_pass(self, now: float) -> list[Command]:
        queue = []
        for number, client in list(self._active.items()):
            entry = client.waiting(self._params.basis, self._prefill)
            if entry is None:
                del self._active[number]
            else:
                queue.append(entry)
        if not queue:
            return []
        time = self._estimate.model
        chosen = next_batch(
            queue,
            now,
            UNKNOWN if time is None else time,
            Room(None if self._memory is None else self._memory - self._held, self._tokens, self._params.max_batch),
            self._params.patience_ms,
            FCFS if time is None else self._params.parts,
            NEVER if self._params.ahead_ms is None else self._params.ahead_ms,
            self._params.bucket,
        )
        if not chosen:
            return []
        members = []
        for entry in chosen:
            client = self._clients[entry.request]
            if not client.admitted:
                client.admitted = True
                self._held += client.sequence.reserved
            members.append(client.feed(self._jobs, self._prefill))
        self._running = VerifyBatch(self._jobs, tuple(members))
        self._jobs += 1
        return [self._running]


def _load(members: tuple[Verify | VerifyTree, ...]) -> Load:
    total = Load()
    for one in members:
        total = total.plus(load_of(len(one.tokens), one.position))
    return total
