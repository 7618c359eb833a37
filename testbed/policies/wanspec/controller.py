"""WANSpec's controller: runs the target, and its own draft model only when it expects to stall (Algorithm 1).

It keeps a tree of drafts; with one branch that is a path, and its passes are those of one request. After every event,
when the device is free, per request and in this order:

1. the tree is k deep: verify all its paths of k drafts in one target pass;
2. the request's hedge says so (the listing: t_update + R > now), or it has no worker, or one that is taken to be gone
   (`presence`): draft here, from the most probable leaf;
3. otherwise wait for the worker, or until the hedge wants to be asked again.

Waiting ends while the worker lives: it hears of every verdict, and streams until its tree is at least k deep below the
last one it heard of. With `silence_ms` it also ends when the worker does not. What the worker says of a text that is no
longer the last is judged by `testbed.policies.wanspec.candidates`.
"""

from __future__ import annotations

from bisect import bisect_right

from testbed.policies.api import (
    Command,
    Draft,
    DraftReady,
    DraftTree,
    Event,
    LinkSample,
    MessageReceived,
    RoleContext,
    Send,
    SetTimer,
    TreeDraftReady,
    Verify,
    VerifyReady,
    VerifyTree,
)
from testbed.policies.jobqueue import JobQueue
from testbed.policies.session import Prefixes, Session
from testbed.policies.wanspec.candidates import CandidateTree
from testbed.policies.wanspec.drafting import drafting
from testbed.policies.wanspec.hedge import ExpectedHedge, Hedge, Learned, ListedHedge, Need, Verdict
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.presence import Presence
from testbed.policies.wanspec.switch import WorkerSwitch
from testbed.policies.wanspec.tree import shape
from testbed.policies.wanspec.waiting import Waiting
from testbed.wire.messages import Branches, Close, Open, Request, Validation


class _Request:
    """One request: its session, its tree, and what it expects of its worker; None if it has none."""

    def __init__(
        self, session: Session, worker: str | None, hedge: Hedge, now: float, branches: int, prefixes: Prefixes
    ) -> None:
        self.session = session
        self.worker = worker
        self.hedge = hedge
        self.told = now  # when the worker was last told of this request
        self.candidates = CandidateTree(session.validated, one_branch=branches == 1)
        self.drafting = drafting(branches, prefixes)
        self.validated_at = [now] * len(session.validated)  # when each token's Validation was sent
        self.verifying = (0, 0)  # depth of the tree in the running target pass, and its levels from the worker
        self.verified = (0, 0)  # the same, summed over the passes so far


class Controller:
    def __init__(self, params: WanspecParams, context: RoleContext) -> None:
        self._prefixes = context.prefixes
        self._params = params
        self._workers = context.peers["drafter"]
        self._queue: JobQueue[_Request] = JobQueue()
        self._waiting = Waiting(params, self._workers)
        self._presence = Presence(params.silence_ms, self._workers, self._waiting.rtt_ms)
        self._learned = Learned()
        self._switch = WorkerSwitch(params.switch_off)
        self._now = 0.0  # of the event in hand
        self._alarms: list[Command] = []  # that it leads to

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        if type(event) is MessageReceived:
            message = event.message
            if type(message) is Branches:
                self._presence.heard(event.sender, now)
                self._hear(message, now)
            elif type(message) is Request:
                commands = self._open(message, event.sender, now)
        elif type(event) is DraftReady or type(event) is TreeDraftReady:
            self._drafted(event)
        elif type(event) is VerifyReady:
            commands = self._verified(event, now)
        elif type(event) is LinkSample:
            self._waiting.sample(event.peer, event.rtt_ms)
        if self._queue.busy:
            return commands
        self._now = now
        commands += self._queue.start(self._next)
        if self._alarms:
            commands += self._alarms
            self._alarms = []
        return commands

    def _next(self, state: _Request, job: int) -> Draft | DraftTree | Verify | VerifyTree | None:
        session, tree, params, now = state.session, state.candidates.tree, self._params, self._now
        depth = session.depth(params.k)
        drafted = tree.depth(depth)
        if drafted == depth:
            nodes = tree.paths(depth)
            remote = state.candidates.remote_levels(nodes)
            state.verifying = depth, remote
            if params.branches == 1:
                return session.verify(job, [node.token for node in nodes], remote_drafts=remote)
            tokens, parents, _ = shape(nodes)
            return session.verify_tree(job, tokens, parents, depth, remote)
        need = Need(len(session.validated) + drafted, depth - drafted, depth)
        if (
            state.worker is None
            or state.hedge.draft_here(need, now)
            or self._presence.is_silent(state.worker, state.told, now)
        ):
            width = params.branches if params.local_branches else 1
            return state.drafting.draft(
                job, session.request, session.validated, tree, [tree.likeliest()], width, params.catch_up
            )
        if state.hedge.wake is not None:
            self._alarms.append(SetTimer(f"wait {session.request.request}", state.hedge.wake))
        self._alarms += self._presence.alarm(session.request.request, state.worker, state.told)
        return None

    def _open(self, request: Request, user: str, now: float) -> list[Command]:
        worker = self._presence.choose(request.request)
        used = worker if self._switch.use() else None
        hedge = self._hedge(request, worker, now)
        session = Session(request, user, self._prefixes)
        state = _Request(session, used, hedge, now, self._params.branches, self._prefixes)
        self._queue.open(request.request, state)
        return self._tell(state, Open(request.request, request.prompt, request.max_tokens, request.sampling))

    def _hedge(self, request: Request, worker: str, now: float) -> Hedge:
        if self._params.rule == "expected_arrival":
            return ExpectedHedge(self._params, self._waiting, self._learned, worker, now, len(request.prompt))
        return ListedHedge(self._params, self._waiting, worker, now)

    def _tell(self, state: _Request, message: Open | Validation | Close) -> list[Command]:
        return [] if state.worker is None else [Send(state.worker, message)]

    def _hear(self, branches: Branches, now: float) -> None:
        state = self._queue.get(branches.request)
        if state is None:
            return
        heard = state.candidates.add_remote(branches, state.session.validated)
        if heard.missed is not None:
            told = state.validated_at
            sent = told[heard.missed]
            base = bisect_right(told, sent)
            state.hedge.missed(heard.missed, sent, base, latest=base == len(told))
        elif heard.level is not None:
            state.hedge.heard(heard.level, state.candidates.tree.root.settled, now)

    def _drafted(self, event: DraftReady | TreeDraftReady) -> None:
        self._waiting.drafted(event.duration_ms)
        state = self._queue.finished(event)
        assert state is not None
        ((leaf, tokens, probabilities, entropy),) = state.drafting.drafted(event)
        width = self._params.width(entropy) if self._params.local_branches else 1
        state.candidates.add_local(leaf, tokens[:width], probabilities[:width])

    def _verified(self, event: VerifyReady, now: float) -> list[Command]:
        state = self._queue.finished(event)
        assert state is not None
        session = state.session
        position = len(session.validated)
        settled = session.verified(event)
        commands: list[Command] = [*session.answer(settled)]
        state.verified = state.verified[0] + state.verifying[0], state.verified[1] + state.verifying[1]
        if settled.final:
            self._queue.close(event.request)
            if state.worker is not None:
                self._switch.finished(remote=state.verified[1], verified=state.verified[0])
            return [*commands, *self._tell(state, Close(event.request))]
        state.told = now
        state.validated_at += [now] * len(settled.tokens)
        path_logp = state.candidates.tree.likeliest().logp
        passed, contradicted = state.candidates.advance(settled.tokens)
        state.drafting.advanced(passed)
        foreseen = state.candidates.tree.root.settled
        state.hedge.verified(
            Verdict(event, state.verifying[0], len(session.validated), contradicted, foreseen, path_logp), now
        )
        return [*commands, *self._tell(state, Validation(event.request, position, settled.tokens))]
