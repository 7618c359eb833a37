"""Runs one role: events go in, and every command it returns is carried out on the wire, the device or a timer.

The host is the only place where a role meets the world, and it adds nothing to the policy. Rule kept: of the commands
of one event what is sent goes last, in its order, so that the device has its next job before messages are written, as
in a server that hands out results beside the next pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, assert_never

from testbed.clock.api import WALL
from testbed.clock.waiting import Alarm, Barriers
from testbed.nodes.capacity import Capacity
from testbed.nodes.jobs import Answer
from testbed.nodes.recorder import Recorder
from testbed.policies.api import (
    BatchReady,
    CancelTimer,
    Command,
    DeviceJob,
    DeviceSample,
    Draft,
    DraftBatch,
    DraftTree,
    Emit,
    Event,
    Evict,
    Finish,
    LinkSample,
    MessageReceived,
    Role,
    Send,
    SetTimer,
    TargetJob,
    TimerFired,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
    requests_of,
)
from testbed.system.units import NS_PER_MS
from testbed.wire.messages import Pong
from testbed.wire.transport import Arrival, Transport
from testbed.workload.planned import PlannedRequest

OnAnswer = Callable[[int, Answer], None]


class Device(Protocol):
    """Where draft and verify jobs go: a model worker, or a stand-in in tests."""

    def submit(self, job: DeviceJob, on_answer: OnAnswer) -> None:
        """Runs the job after those before it; `on_answer(submitted_ns, answer)` is called on the event loop."""

    def release(self, request: int) -> None: ...

    def sample(self) -> DeviceSample | None: ...


class RoleHost:
    """One role at one node for one policy phase. `requests` (first, last) are this phase's; others are stale."""

    def __init__(
        self,
        role: Role,
        transport: Transport,
        device: Device | None,
        recorder: Recorder,
        requests: tuple[int, int],
        on_finish: Callable[[int], None] = lambda request: None,
        capacity: Capacity | None = None,
        barriers: Barriers | None = None,
    ) -> None:
        self._role = role
        self._transport = transport
        self._device = device
        self._recorder = recorder
        self._requests = requests
        self._on_finish = on_finish
        self._capacity = capacity
        self._timers: dict[str, Alarm] = {}
        self._barriers = barriers or Barriers(WALL)
        self._now_ns = self._barriers.clock.now_ns
        self._cached: set[int] = set()  # requests that the device may hold caches of
        self._running = True
        self.stale_messages = 0

    def arrived(self, arrival: Arrival) -> None:
        """A message from the wire."""
        if not self._running:
            return
        if isinstance(arrival.message, Pong):
            rtt_ms = (arrival.received_ns - arrival.message.ping_sent_ns) / 1e6
            self._dispatch(LinkSample(arrival.sender, rtt_ms))
            return
        request = getattr(arrival.message, "request", None)
        if request is None or not self._requests[0] <= request <= self._requests[1]:
            self.stale_messages += 1
            return
        self._recorder.message(arrival)
        self._dispatch(MessageReceived(arrival.sender, arrival.message))

    def sample(self, peer: str, rtt_ms: float) -> None:
        """A round-trip time measured before the phase began."""
        self._dispatch(LinkSample(peer, rtt_ms))

    def issue(self, planned: PlannedRequest, scheduled_ns: int) -> None:
        """A user's request is due; one whose trial has timed out meanwhile is dropped."""
        if not self._running:
            return
        self._recorder.sent(planned, scheduled_ns, self._now_ns())
        self._dispatch(planned.arrived())

    def sample_device(self) -> None:
        """What others do with the node's device, where it is shared."""
        if self._running and self._device is not None and (sample := self._device.sample()) is not None:
            self._dispatch(sample)

    def stop(self) -> None:
        """Ends the phase: nothing is dispatched after this, and no cache stays of requests that were given up."""
        self._running = False
        while self._cached and self._device is not None:
            self._device.release(self._cached.pop())
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _dispatch(self, event: Event) -> list[Command]:
        commands = self._role.handle(event, self._now_ns() / 1e6)
        sent: list[Send] = []
        for command in commands:
            if type(command) is Send:
                sent.append(command)
            else:
                self._execute(command)
        for command in sent:
            self._transport.send(command.to, command.message)
        return commands

    def _execute(self, command: Command) -> None:
        match command:
            case Send():
                raise AssertionError("carried out where it is dispatched")
            case Draft() | Verify() | VerifyBatch() | DraftBatch() | DraftTree() | VerifyTree():
                assert self._device is not None, "a role requested compute on a node without models"
                if self._capacity is not None and isinstance(command, TargetJob):
                    self._capacity.take(command)
                self._cached.update(requests_of(command))
                self._device.submit(command, lambda submitted, answer: self._answered(command, submitted, answer))
            case SetTimer(name=name, at=at):
                self._cancel(name)
                self._timers[name] = Alarm(self._barriers, round(at * NS_PER_MS), partial(self._fire, name))
            case CancelTimer(name=name):
                self._cancel(name)
            case Emit(request=request, tokens=tokens):
                self._recorder.emitted(request, tokens, self._now_ns())
            case Finish(request=request, kept=kept):
                if not kept:
                    self._release(request)
                if self._capacity is not None:
                    self._capacity.release(request)
                self._recorder.over(request)
                self._on_finish(request)
            case Evict(request=request):
                self._release(request)
            case _:
                assert_never(command)

    def _release(self, request: int) -> None:
        self._cached.discard(request)
        if self._device is not None:
            self._device.release(request)

    def _answered(self, job: DeviceJob, submitted_ns: int, answer: Answer) -> None:
        if self._running:
            commands = self._dispatch(answer.ready)  # first: the device waits for its next job, the log does not
            if isinstance(answer.ready, VerifyReady | BatchReady):
                self._recorder.rounds(job, submitted_ns, answer.ready, commands, answer.passes[-1].finished_ns)
        self._recorder.steps(job, submitted_ns, answer.passes)

    def _fire(self, name: str) -> None:
        self._timers.pop(name, None)
        if self._running:
            self._dispatch(TimerFired(name))

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
