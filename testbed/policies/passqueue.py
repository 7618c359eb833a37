"""The queue in front of one node's device when its passes are shared: jobs of single requests, merged.

A role says what one request wants next, as if it were alone; this decides whose jobs are one pass. It is continuous
batching with chunked prefill, for drafts as for verifications:

* a pass is made when the device is free, from what the requests want at that moment;
* the request that was served longest ago decides whether it is a pass of the draft model or of the target, and every
  other request that wants the same model joins, up to `max_batch` requests and `token_budget` tokens;
* requests that are decoding come first; prompts get the rest of the budget, in the order of arrival, cut where it ends;
* a request enters the line when the memory that it can ever need is free (`testbed.policies.admission`).

Rule kept: no second job is issued while one is outstanding. A job that is fed in parts is answered once, when all of it
is in, and a pass of one request is the plain job, so that a request alone is served as without this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from testbed.policies.admission import Admission
from testbed.policies.api import (
    BatchReady,
    DeviceJob,
    DeviceLimits,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftReady,
    DraftTree,
    JobDone,
    TreeDraftReady,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)
from testbed.policies.batching import BatchingParams
from testbed.wire.messages import Open, Request

State = TypeVar("State")
Single = Draft | DraftTree | Verify | VerifyTree
Answer = DraftReady | TreeDraftReady | VerifyReady
UNBOUNDED = 1 << 30


class Wish(NamedTuple):
    """What a request wants next: a job of the draft model or of the target, made once it is certain to be asked for."""

    drafts: bool
    make: Callable[[int], Single]  # by the job's number


class _Entry(Generic[State]):
    """A request in line."""

    __slots__ = ("asked", "fed", "number", "request", "reserved", "rest", "serial", "state")

    def __init__(self, request: Request | Open, state: State, reserved: int, serial: int) -> None:
        self.request = request
        self.state = state
        self.reserved = reserved
        self.serial = serial
        self.number = request.request
        self.rest: Single | None = None  # of the job that was asked for, what is not fed yet
        self.asked = -1  # number of that job, as its role knows it
        self.fed: set[bool] = set()  # for which models (`Wish.drafts`) its prompt is in


class PassQueue(Generic[State]):
    def __init__(self, params: BatchingParams, limits: DeviceLimits) -> None:
        self._most = params.most_together
        self._budget = min(params.token_budget, limits.max_pass_tokens or params.token_budget)
        self._round = min(params.round_tokens, self._budget)
        self._admission: Admission[_Entry[State]] = Admission(limits.kv_capacity_tokens, UNBOUNDED)
        self._open: dict[int, _Entry[State]] = {}  # by request: in line, or waiting for memory
        self._line: dict[int, _Entry[State]] = {}  # longest unserved first
        self._running: list[tuple[_Entry[State], bool]] = []  # members of the pass; whether all of their job is in it
        self._outstanding: int | None = None
        self._jobs = 0
        self._opened = 0

    @property
    def busy(self) -> bool:
        return self._outstanding is not None

    def open(self, request: Request | Open, state: State, beyond: int = 0) -> None:
        """`beyond`: tokens that a pass may have in memory past the request's limit. RunInvalid if it can never fit."""
        number = request.request
        self.close(number)  # one that comes again, as after a failover, begins anew
        entry = _Entry(request, state, len(request.prompt) + request.max_tokens + beyond, self._opened)
        self._admission.arrive(entry)
        self._opened += 1
        self._open[number] = entry

    def close(self, request: int) -> None:
        if self._open.pop(request, None) is not None:
            self._line.pop(request, None)
            self._admission.withdraw(request)

    def get(self, request: int) -> State | None:
        """None once the request is closed: what still arrives for it is late, not wrong."""
        entry = self._open.get(request)
        return None if entry is None else entry.state

    def finished(self, event: JobDone) -> list[tuple[State, Answer]]:
        """The device is free again; whose jobs are done with it. Those of requests that were closed are dropped."""
        if event.job != self._outstanding:
            raise ValueError(f"job {event.job} finished while job {self._outstanding} was outstanding")
        self._outstanding = None
        if type(event) is BatchReady or type(event) is DraftBatchReady:
            answers: tuple[Answer, ...] = event.members
        else:
            assert type(event) is DraftReady or type(event) is TreeDraftReady or type(event) is VerifyReady
            answers = (event,)
        running, self._running = self._running, []
        done: list[tuple[State, Answer]] = []
        for (entry, whole), answer in zip(running, answers, strict=True):
            if whole and self._open.get(entry.number) is entry:
                done.append((entry.state, answer if answer.job == entry.asked else replace(answer, job=entry.asked)))
        return done

    def start(self, ask: Callable[[State], Wish | None]) -> list[DeviceJob]:
        """The next pass, of those in line that want the same; nothing while one is outstanding, or none wants any."""
        if self._outstanding is not None:
            return []
        for entry in self._admission.admit():
            self._line[entry.number] = entry
        drafts, wishes = self._wishes(ask)
        if not wishes:
            return []
        number = self._jobs
        jobs = self._fill(number, drafts, wishes)
        self._outstanding = number
        self._jobs += 1
        if len(self._line) > 1:
            for entry, _ in self._running:
                self._line[entry.number] = self._line.pop(entry.number)
        if len(jobs) == 1:
            return [jobs[0]]
        if drafts:
            return [DraftBatch(number, tuple(one for one in jobs if isinstance(one, Draft | DraftTree)))]
        return [VerifyBatch(number, tuple(one for one in jobs if isinstance(one, Verify | VerifyTree)))]

    def _wishes(self, ask: Callable[[State], Wish | None]) -> tuple[bool, list[tuple[_Entry[State], Wish | None]]]:
        """Who takes part, in line order; without a wish where a job is begun. And whether the draft model is asked."""
        chosen: bool | None = None
        found: list[tuple[_Entry[State], Wish | None]] = []
        for entry in self._line.values():
            wish = None
            if entry.rest is None:
                wish = ask(entry.state)
                if wish is None:
                    continue
                drafts = wish.drafts
            else:
                drafts = _is_draft(entry.rest)
            if chosen is None:
                chosen = drafts
            if drafts == chosen:
                found.append((entry, wish))
                if len(found) == self._most:
                    break
        return chosen is True, found

    def _fill(self, number: int, drafts: bool, wishes: list[tuple[_Entry[State], Wish | None]]) -> list[Single]:
        """Jobs of one pass: decoding requests in line order, then prompts in the order of arrival."""
        left = self._budget
        jobs: list[Single] = []
        if len(wishes) > 1:
            wishes.sort(key=lambda one: -1 if drafts in one[0].fed else one[0].serial)
        for entry, wish in wishes:
            if jobs and left < self._round:
                break  # nothing is made that may have no room: what it begins with may not be kept until the next pass
            if wish is not None:
                entry.rest, entry.asked = wish.make(number), number
            job = entry.rest
            assert job is not None
            rest = None
            if (size := fed(job)) > left:
                if jobs and drafts in entry.fed:
                    continue  # a round of drafts is not cut: it goes with the next pass
                parts = cut(job, left)
                if parts is not None:
                    job, rest = parts
                elif jobs:
                    continue
                size = fed(job)
            entry.rest = rest
            if rest is None:
                entry.fed.add(drafts)
            jobs.append(job if job.job == number else replace(job, job=number))
            self._running.append((entry, rest is None))
            left -= size
        return jobs


def fed(job: Single) -> int:
    """Tokens that a job's first pass processes."""
    return job.fresh if isinstance(job, DraftTree | VerifyTree) else len(job.tokens)


def cut(job: Single, most: int) -> tuple[Draft | Verify, Single] | None:
    """The job in two, of which the first feeds `most` tokens or fewer and is not answered; None where it has no part.

    A tree is cut in the text below it, while nothing of that is cached.
    """
    kept = job.drafts + 1 if isinstance(job, Verify) else 1
    size = min(most, len(job.tokens) - kept)
    if size < 1:
        return None
    head, rest = job.tokens[:size], job.tokens[size:]
    if isinstance(job, DraftTree | VerifyTree):
        if job.fresh != len(job.tokens) + len(job.nodes):
            return None
        tail: Single = replace(job, position=job.position + size, tokens=rest, fresh=job.fresh - size)
    else:
        tail = replace(job, position=job.position + size, tokens=rest)
    if isinstance(job, Draft | DraftTree):
        return Draft(job.job, job.request, job.position, head, steps=0), tail
    return Verify(job.job, job.request, job.position, head, 0, job.sampling, prefill=True), tail


def _is_draft(job: Single) -> bool:
    return isinstance(job, Draft | DraftTree)
