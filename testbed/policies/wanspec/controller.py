"""WANSpec's controller: runs the target, and its own draft model only when it expects to stall (Algorithm 1).

This is the controller of one branch: it verifies a path.

After every event, when the device is free, per request and in this order:

1. enough drafts on the path: verify the first k of them;
2. the worker is taken to be stale (t_update + R > now), or to be gone (`presence`): draft one token here;
3. otherwise wait for the worker.

Waiting ends while the worker lives: it hears of every verdict, and streams at least k drafts beyond the last one it
heard of. With `silence_ms` it also ends when the worker does not.
"""

from __future__ import annotations

from testbed.policies.api import (
    Command,
    Draft,
    DraftReady,
    Event,
    LinkSample,
    MessageReceived,
    RoleContext,
    Send,
    Verify,
    VerifyReady,
)
from testbed.policies.device import Device
from testbed.policies.session import Session
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.path import CandidatePath
from testbed.policies.wanspec.presence import Presence
from testbed.policies.wanspec.waiting import Waiting, stale_after
from testbed.wire.messages import Close, Open, Request, Speculation, Validation


class _Request:
    """One request: its session, its path, and since when its worker is taken to be stale."""

    def __init__(self, session: Session, worker: str, now: float) -> None:
        self.session = session
        self.worker = worker
        self.path = CandidatePath()
        self.told = now  # when the worker was last told of this request
        self.t_update = now  # the worker cannot have streamed before it heard of the request
        self.validated_at = [now] * len(session.validated)  # when each token's Validation was sent
        self.verifying = 0  # drafts in the running target pass
        self.drafting = (0, 0)  # context of the running local pass: the path's generation, and the token's position

    @property
    def context(self) -> tuple[int, int]:
        return self.path.generation, len(self.session.validated) + len(self.path)


class Controller:
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        self._params = params
        self._workers = context.peers["drafter"]
        self._device: Device[_Request] = Device()
        self._waiting = Waiting(params, self._workers)
        self._presence = Presence(params.silence_ms, self._workers, self._waiting.rtt_ms)

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        match event:
            case LinkSample(peer, rtt_ms):
                self._waiting.sample(peer, rtt_ms)
            case MessageReceived(sender, Request() as request):
                commands += self._open(request, sender, now)
            case MessageReceived(sender, Speculation() as speculation):
                self._presence.heard(sender, now)
                self._hear(speculation)
            case DraftReady():
                self._drafted(event)
            case VerifyReady():
                commands += self._verified(event, now)
        alarms: list[Command] = []
        return commands + self._device.start(lambda state, job: self._next(state, job, now, alarms)) + alarms

    def _next(self, state: _Request, job: int, now: float, alarms: list[Command]) -> Draft | Verify | None:
        session, path = state.session, state.path
        depth = session.depth(self._params.k)
        if len(path) >= depth:
            state.verifying = depth
            return session.verify(job, path.tokens(depth), remote_drafts=path.remote_drafts(depth))
        worker, told = state.worker, state.told
        if self._waiting.worth_drafting(worker, state.t_update, now) or self._presence.is_silent(worker, told, now):
            state.drafting = state.context
            known = path.tokens(len(path))
            return session.draft_model.draft(
                job, session.request, session.validated, known, catch_up=self._params.catch_up
            )
        alarms += self._presence.alarm(session.request.request, state.worker, state.told)
        return None

    def _open(self, request: Request, user: str, now: float) -> list[Command]:
        worker = self._presence.choose(request.request)
        self._device.open(request.request, _Request(Session(request, user), worker, now))
        return [Send(worker, Open(request.request, request.prompt, request.max_tokens, request.sampling))]

    def _hear(self, speculation: Speculation) -> None:
        state = self._device.get(speculation.request)
        if state is None:
            return
        position, validated = speculation.position, state.session.validated
        contradicted = state.path.add_remote(speculation.lineage, position, speculation.token, validated)
        if contradicted and self._params.contradiction:
            # Whatever the worker drafts until it hears of this token is useless: one round trip after it was sent.
            state.t_update = max(state.t_update, state.validated_at[position])

    def _drafted(self, event: DraftReady) -> None:
        self._waiting.drafted(event.duration_ms)
        state = self._device.finished(event)
        assert state is not None
        state.session.draft_model.drafted(event)
        # Of no use when the context was dropped meanwhile, or when the worker's token got here first.
        if state.drafting == state.context:
            state.path.add_local(event.tokens[0])

    def _verified(self, event: VerifyReady, now: float) -> list[Command]:
        state = self._device.finished(event)
        assert state is not None
        session = state.session
        position = len(session.validated)
        settled = session.verified(event)
        commands: list[Command] = [*session.answer(settled)]
        if settled.final:
            self._device.close(event.request)
            return [*commands, Send(state.worker, Close(event.request))]
        state.told = now
        state.validated_at += [now] * len(settled.tokens)
        contradicted = state.path.prune(settled.tokens, session.validated)
        if stale_after(event, state.verifying, self._params.phi) or (contradicted and self._params.contradiction):
            state.t_update = now
        return [*commands, Send(state.worker, Validation(event.request, position, settled.tokens))]
