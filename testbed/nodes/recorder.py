"""One node's log of one policy phase: steps, rounds, messages and, at the user's node, requests.

A node program's rows go to a file as they come (`testbed.nodes.rowfile`), a simulated node's stay in memory. Rule kept:
nothing is held of a request that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import msgspec

from testbed.nodes.jobs import PassRecord
from testbed.policies.api import (
    BatchReady,
    Command,
    DeviceJob,
    Draft,
    DraftBatch,
    DraftTree,
    Send,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
    requests_of,
)
from testbed.results.records import MessageRow, RequestRow, Round, Step
from testbed.wire.messages import Message, Tokens
from testbed.wire.transport import Arrival
from testbed.workload.planned import PlannedRequest


class RowLog(Protocol):
    """Where a recorder's rows go."""

    def adder(self, record: type[Step | Round | MessageRow | RequestRow], /) -> Callable[[Any], None]:
        """What takes rows of one kind."""
        ...


class PhaseLog(msgspec.Struct):
    """Everything that was recorded in one phase, in memory."""

    steps: list[Step] = []
    rounds: list[Round] = []
    messages: list[MessageRow] = []
    requests: list[RequestRow] = []
    # In simulation, by policy: leaves that trees were drafted from, and those of them whose answer was approximated.
    lookups: dict[str, tuple[int, int]] = {}

    def extend(self, other: PhaseLog) -> None:
        self.steps += other.steps
        self.rounds += other.rounds
        self.messages += other.messages
        self.requests += other.requests
        for policy, (all_, approximated) in other.lookups.items():
            before = self.lookups.get(policy, (0, 0))
            self.lookups[policy] = before[0] + all_, before[1] + approximated

    def adder(self, record: type[Step | Round | MessageRow | RequestRow]) -> Callable[[Any], None]:
        rows: Mapping[type, list[Any]] = {
            Step: self.steps, Round: self.rounds, MessageRow: self.messages, RequestRow: self.requests
        }  # fmt: skip
        return rows[record].append


class Recorder:
    """Turns what happens at one node into rows. All times are nanoseconds of the run's clock."""

    detailed = True  # False: rows of requests alone are wanted, and nobody need say more

    def __init__(self, policy: str, repeat: int, node: str, site: str, log: RowLog) -> None:
        self._add_step, self._add_round = log.adder(Step), log.adder(Round)
        self._add_message, self._add_request = log.adder(MessageRow), log.adder(RequestRow)
        self._policy = policy
        self._repeat = repeat
        self._node = node
        self._site = site
        self._round_start: dict[int, int] = {}
        self._round_index: dict[int, int] = {}
        self._open: dict[int, _OpenRequest] = {}
        self._over: list[int] = []  # of these, nothing is needed once what ended them is recorded

    def over(self, request: int) -> None:
        """The role has done with this request; the answer in hand may still be recorded."""
        self._over.append(request)

    def _forget(self) -> None:
        while self._over:
            request = self._over.pop()
            self._round_start.pop(request, None)
            self._round_index.pop(request, None)

    def message(self, arrival: Arrival) -> None:
        if self._over:
            self._forget()
        message = arrival.message
        kind, counted = _shape(type(message))
        request = getattr(message, "request", -1)
        count = 0 if counted is None else 1 if counted == "token" else len(getattr(message, counted))
        if kind == "request":
            self._round_start[request] = arrival.received_ns
        self._add_message(
            MessageRow(
                self._policy,
                self._repeat,
                request,
                kind,
                arrival.sender,
                self._node,
                arrival.sent_ns,
                arrival.received_ns,
                arrival.size_bytes,
                count,
            )
        )

    def steps(
        self,
        job: DeviceJob,
        submitted_ns: int,
        passes: Sequence[PassRecord],
    ) -> None:
        """A job's passes; of a batch, each as each of its members took part in it."""
        if self._over:
            self._forget()
        of = requests_of(job)
        drafts = type(job) is Draft or type(job) is DraftTree or type(job) is DraftBatch
        kind, model = ("draft", "draft") if drafts else ("verify", "target")
        policy, repeat, node, site = self._policy, self._repeat, self._node, self._site
        for one in passes:
            self._add_step(
                Step(
                    policy,
                    repeat,
                    node,
                    site,
                    model,
                    of[one.member],
                    job.job,
                    kind,
                    submitted_ns,
                    one.started_ns,
                    one.finished_ns,
                    one.paced_ms,
                    one.real_ms,
                    one.overrun_ms,
                    one.position,
                    one.tokens,
                    one.batch,
                    one.alone_ms,
                )
            )

    def rounds(
        self,
        job: DeviceJob,
        submitted_ns: int,
        ready: VerifyReady | BatchReady,
        commands: Sequence[Command],
        now_ns: int,
    ) -> None:
        """Verdicts came back and the role answered with `commands`: a round for each verdict, none for a prefill."""
        emitted: dict[int, int] = {}
        for command in commands:
            if type(command) is Send and type(command.message) is Tokens:
                message = command.message
                emitted[message.request] = emitted.get(message.request, 0) + len(message.tokens)
        if isinstance(job, VerifyBatch) and isinstance(ready, BatchReady):
            for member, verdict in zip(job.members, ready.members, strict=True):
                if not member.prefill:
                    self.round(member, submitted_ns, verdict, emitted.get(member.request, 0), now_ns)
            return
        assert isinstance(job, Verify | VerifyTree) and isinstance(ready, VerifyReady)
        if not job.prefill:
            self.round(job, submitted_ns, ready, emitted.get(job.request, 0), now_ns)

    def round(self, job: Verify | VerifyTree, submitted_ns: int, ready: VerifyReady, emitted: int, now_ns: int) -> None:
        """A verify came back and the role sent `emitted` tokens on because of it."""
        index = self._round_index.get(job.request, 0)
        self._add_round(
            Round(
                policy=self._policy,
                repeat=self._repeat,
                node=self._node,
                request=job.request,
                index=index,
                position=job.position + len(job.tokens) - (job.drafts if isinstance(job, Verify) else 0),
                drafts=job.drafts,
                remote_drafts=job.remote_drafts,
                accepted=min(ready.accepted, emitted),
                emitted=emitted,
                started_ns=self._round_start.get(job.request, submitted_ns),
                verify_submitted_ns=submitted_ns,
                finished_ns=now_ns,
            )
        )
        self._round_index[job.request] = index + 1
        self._round_start[job.request] = now_ns

    # --- the user's node ---

    def sent(self, planned: PlannedRequest, scheduled_ns: int, sent_ns: int) -> None:
        self._open[planned.request] = _OpenRequest(planned, scheduled_ns, sent_ns)

    def emitted(self, request: int, tokens: Sequence[int], now_ns: int) -> None:
        one = self._open[request]
        one.chunk_ns.append(now_ns)
        one.chunk_tokens.append(len(tokens))
        one.tokens.extend(tokens)

    def unfinished(self) -> dict[int, tuple[int, ...]]:
        """What was handed out of requests that have not ended."""
        return {request: tuple(one.tokens) for request, one in self._open.items()}

    def finished(self, request: int, now_ns: int) -> int:
        """Closes the request's row; returns how many tokens it got."""
        one = self._open.pop(request)
        self._add_request(
            RequestRow(
                policy=self._policy,
                repeat=self._repeat,
                node=self._node,
                request=request,
                prompt_id=one.planned.prompt_id,
                prompt_tokens=len(one.planned.prompt),
                output_tokens=len(one.tokens),
                scheduled_ns=one.scheduled_ns,
                sent_ns=one.sent_ns,
                first_token_ns=one.chunk_ns[0] if one.chunk_ns else now_ns,
                finished_ns=now_ns,
                chunk_ns=tuple(one.chunk_ns),
                chunk_tokens=tuple(one.chunk_tokens),
                tokens=tuple(one.tokens),
                lossless=None,
                slo_tokens_per_s=one.planned.slo_tokens_per_s,
            )
        )
        return len(one.tokens)


class RequestRecorder(Recorder):
    """Logs requests and nothing else: for a search over many fleets, where the rest would be most of the work."""

    detailed = False

    def message(self, arrival: Arrival) -> None:
        pass

    def over(self, request: int) -> None:
        pass


@cache
def _shape(kind: type[Message]) -> tuple[str, str | None]:
    """A message's name in the log, and which of its fields holds tokens."""
    fields = kind.__struct_fields__
    return kind.__name__.lower(), next((name for name in ("tokens", "prompt", "token") if name in fields), None)


class _OpenRequest:
    def __init__(self, planned: PlannedRequest, scheduled_ns: int, sent_ns: int) -> None:
        self.planned = planned
        self.scheduled_ns = scheduled_ns
        self.sent_ns = sent_ns
        self.chunk_ns: list[int] = []
        self.chunk_tokens: list[int] = []
        self.tokens: list[int] = []
