"""WANSpec's controller: runs the target, and its own draft model only when it expects to stall (Algorithm 1).

It keeps a tree of drafts; with one branch that is a path. Requests share the device's passes (`passqueue`). After every
event, when the device is free, per request and in this order:

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
    BatchReady,
    Command,
    Draft,
    DraftBatchReady,
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
from testbed.policies.passqueue import PassQueue, Wish
from testbed.policies.placement.options import of
from testbed.policies.placement.sites import Sites
from testbed.policies.session import Prefixes, Session
from testbed.policies.wanspec.candidates import CandidateTree
from testbed.policies.wanspec.drafting import drafting
from testbed.policies.wanspec.hedge import ExpectedHedge, Hedge, Learned, ListedHedge, Need, Verdict
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.presence import Presence
from testbed.policies.wanspec.switch import WorkerSwitch
from testbed.policies.wanspec.tree import shape
from testbed.policies.wanspec.waiting import Waiting
from testbed.wire.messages import Branches, Close, Load, Open, Request, Validation


class _Request:
    """One request: its session, its tree, and what it expects of its worker; None if it has none."""

    def __init__(
        self, session: Session, worker: str | None, hedge: Hedge, now: float, branches: int, prefixes: Prefixes
    ) -> None:
        self.session = session
        self.worker = worker
        self.hedge = hedge
        self.told = now  # when the worker was last told of this request
        self.since = now  # when it got this worker
        self.been = {worker}  # it does not go back to one that it left
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
        self._queue: PassQueue[_Request] = PassQueue(params, context.limits)
        self._waiting = Waiting(params, self._workers)
        self._presence = Presence(params.silence_ms, self._workers, self._waiting.rtt_ms)
        self._sites = Sites(of(params.placement), self._workers, lambda: self._waiting.draft_ms)
        self._moves = of(params.placement).move
        self._learned = Learned()
        self._switch = WorkerSwitch(params.switch_off)
        self._now = 0.0  # of the event in hand
        self._alarms: list[Command] = []  # that it leads to

    def handle(self, event: Event, now: float) -> list[Command]:
        commands: list[Command] = []
        self._sites.begin(now)
        if type(event) is MessageReceived:
            message = event.message
            if type(message) is Branches:
                self._presence.heard(event.sender, now)
                self._hear(message, event.sender, now)
            elif type(message) is Load:
                self._sites.reported(event.sender, message, now)
            elif type(message) is Request:
                commands = self._open(message, event.sender, now)
        elif type(event) is LinkSample:
            self._waiting.sample(event.peer, event.rtt_ms)
            self._sites.sample(event.peer, event.rtt_ms, now)
        elif (
            type(event) is DraftReady
            or type(event) is TreeDraftReady
            or type(event) is DraftBatchReady
            or type(event) is VerifyReady
            or type(event) is BatchReady
        ):
            for state, answer in self._queue.finished(event):
                if type(answer) is VerifyReady:
                    commands += self._verified(state, answer, now)
                else:
                    assert type(answer) is DraftReady or type(answer) is TreeDraftReady
                    self._drafted(state, answer)
        if self._queue.busy:
            return commands
        self._now = now
        commands += self._queue.start(self._next)
        if self._alarms:
            commands += self._alarms
            self._alarms = []
        return commands

    def _next(self, state: _Request) -> Wish | None:
        session, tree, now = state.session, state.candidates.tree, self._now
        depth = session.depth(self._params.k)
        drafted = tree.depth(depth)
        if drafted == depth:
            return Wish(False, lambda job: self._verify(state, job, depth))
        if self._moves and self._is_silent(state) and (worker := self._elsewhere(state)) is not None:
            self._alarms += self._move(state, worker)
        need = Need(len(session.validated) + drafted, depth - drafted, depth)
        if state.worker is None or state.hedge.draft_here(need, now) or self._is_silent(state):
            return Wish(True, lambda job: self._draft(state, job))
        if state.hedge.wake is not None:
            self._alarms.append(SetTimer(f"wait {session.request.request}", state.hedge.wake))
        self._alarms += self._presence.alarm(session.request.request, state.worker, state.told)
        return None

    def _verify(self, state: _Request, job: int, depth: int) -> Verify | VerifyTree:
        nodes = state.candidates.tree.paths(depth)
        remote = state.candidates.remote_levels(nodes)
        state.verifying = depth, remote
        if self._params.branches == 1:
            return state.session.verify(job, [node.token for node in nodes], remote_drafts=remote)
        tokens, parents, _ = shape(nodes)
        return state.session.verify_tree(job, tokens, parents, depth, remote)

    def _draft(self, state: _Request, job: int) -> Draft | DraftTree:
        session, tree, params = state.session, state.candidates.tree, self._params
        width = params.branches if params.local_branches else 1
        leaves = [tree.likeliest()]
        return state.drafting.draft(job, session.request, session.validated, tree, leaves, width, params.catch_up)

    def _open(self, request: Request, user: str, now: float) -> list[Command]:
        worker = self._presence.choose(lambda among: self._sites.choose(request, among, now))
        used = worker if self._switch.use() else None
        hedge = self._hedge(worker, now, len(request.prompt))
        session = Session(request, user, self._prefixes)
        state = _Request(session, used, hedge, now, self._params.branches, self._prefixes)
        self._queue.open(request, state, beyond=self._params.most_nodes)
        return [*self._sites.watch(request.request), *self._opened(state, now)]

    def _opened(self, state: _Request, now: float) -> list[Command]:
        """The worker hears of the request, its text and what is left of its limit."""
        request, worker = state.session.request, state.worker
        if worker is None:
            return []
        self._sites.given(worker, request.request, state.session.remaining, now)
        text = tuple(state.session.validated)
        return [Send(worker, Open(request.request, text, state.session.remaining, request.sampling))]

    # --- workers that it moves on from ---

    def _is_silent(self, state: _Request) -> bool:
        return state.worker is not None and self._presence.is_silent(state.worker, state.told, self._now)

    def _elsewhere(self, state: _Request) -> str | None:
        """Where a request can go on whose worker is silent."""
        others = [worker for worker in self._presence.speaking() if worker not in state.been]
        return self._sites.choose(state.session.request, others, self._now) if self._moves and others else None

    def _move(self, state: _Request, worker: str) -> list[Command]:
        """The request goes on at this worker from the text that is validated. What is drafted stays, and until the
        new one can be heard its hedge knows that it is stale."""
        now, former = self._now, state.worker
        assert former is not None
        number = state.session.request.request
        commands: list[Command] = [Send(former, Close(number))]
        self._sites.left(former, number, now)
        state.worker, state.since, state.told = worker, now, now
        state.been.add(worker)
        state.candidates.restart()
        state.validated_at = [now] * len(state.session.validated)
        state.hedge = self._hedge(worker, now, len(state.session.validated))
        return commands + self._opened(state, now)

    def _hedge(self, worker: str, now: float, base: int) -> Hedge:
        if self._params.rule == "expected_arrival":
            return ExpectedHedge(self._params, self._waiting, self._learned, worker, now, base)
        return ListedHedge(self._params, self._waiting, worker, now)

    def _tell(self, state: _Request, message: Validation | Close) -> list[Command]:
        return [] if state.worker is None else [Send(state.worker, message)]

    def _hear(self, branches: Branches, worker: str, now: float) -> None:
        state = self._queue.get(branches.request)
        if state is None or state.worker != worker:  # it is over, or went on elsewhere
            return
        heard = state.candidates.add_remote(branches, state.session.validated)
        if heard.missed is not None:
            told = state.validated_at
            sent = told[heard.missed]
            base = bisect_right(told, sent)
            state.hedge.missed(heard.missed, sent, base, latest=base == len(told))
        elif heard.level is not None:
            state.hedge.heard(heard.level, state.candidates.tree.root.settled, now)

    def _drafted(self, state: _Request, event: DraftReady | TreeDraftReady) -> None:
        self._waiting.drafted(event.duration_ms)
        ((leaf, tokens, probabilities, entropy),) = state.drafting.drafted(event)
        width = self._params.width(entropy) if self._params.local_branches else 1
        state.candidates.add_local(leaf, tokens[:width], probabilities[:width])

    def _verified(self, state: _Request, event: VerifyReady, now: float) -> list[Command]:
        session = state.session
        position = len(session.validated)
        settled = session.verified(event)
        commands: list[Command] = [*session.answer(settled)]
        state.verified = state.verified[0] + state.verifying[0], state.verified[1] + state.verifying[1]
        if settled.final:
            self._queue.close(event.request)
            if state.worker is not None:
                self._switch.finished(remote=state.verified[1], verified=state.verified[0])
                self._sites.left(state.worker, event.request, now)
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
        if state.worker is not None:
            speaking = [worker for worker in self._presence.speaking() if worker not in state.been]
            better = self._sites.better(session.request, state.worker, state.since, speaking, now)
            if better is not None:
                self._now = now
                return [*commands, *self._move(state, better)]
        return [*commands, *self._tell(state, Validation(event.request, position, settled.tokens))]
