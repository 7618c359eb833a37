"""Runs one role in virtual time: what `testbed.nodes.rolehost` does on the wall clock, with the same recorder.

Rule kept: events, commands and log rows are those of the emulation; only the clock differs. Each phase is a world of
its own, so no message of another phase can arrive and none is stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, assert_never, get_args

from testbed.nodes.capacity import Capacity
from testbed.nodes.jobs import PassRecord
from testbed.nodes.recorder import Recorder
from testbed.nodes.virtualdevice import Answered
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
    JobDone,
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
)
from testbed.simulation.kernel import Kernel, Timer
from testbed.system.units import NS_PER_MS
from testbed.wire.messages import Message
from testbed.wire.transport import Arrival
from testbed.workload.planned import PlannedRequest

JOBS, TARGET_JOBS = frozenset(get_args(DeviceJob)), frozenset(get_args(TargetJob))


class Device(Protocol):
    def submit(self, job: DeviceJob, answered: Answered) -> None: ...

    def release(self, request: int) -> None: ...

    def sample(self) -> DeviceSample | None: ...


class VirtualHost:
    """One role at one node for one phase. `paths` are the ways to the nodes it may send to."""

    def __init__(
        self,
        kernel: Kernel,
        role: Role,
        device: Device | None,
        recorder: Recorder,
        on_finish: Callable[[int], None],
        capacity: Capacity | None = None,
    ) -> None:
        self.paths: Mapping[str, Callable[[Message], None]] = {}  # set once all hosts exist
        self.recorder = recorder
        self._kernel = kernel
        self._role = role
        self._device = device
        self._on_finish = on_finish
        self._capacity = capacity
        self._timers: dict[str, Timer] = {}
        self.stopped = False  # as one without power: it neither runs nor answers

    def arrived(self, arrival: Arrival) -> None:
        """A message from a link."""
        if self.stopped:
            return
        self.recorder.message(arrival)
        self._dispatch(MessageReceived(arrival.sender, arrival.message))

    def sample(self, sample: LinkSample) -> None:
        """A measured round-trip time."""
        if not self.stopped:
            self._dispatch(sample)

    def sample_device(self) -> None:
        """What others do with the node's device, where it is shared."""
        if not self.stopped and self._device is not None and (sample := self._device.sample()) is not None:
            self._dispatch(sample)

    def issue(self, planned: PlannedRequest, scheduled_ns: int) -> None:
        """A user's request is due."""
        if self.stopped:
            return
        self.recorder.sent(planned, scheduled_ns, self._kernel.now_ns)
        self._dispatch(planned.arrived())

    def _dispatch(self, event: Event) -> list[Command]:
        now_ns = self._kernel.now_ns
        commands = self._role.handle(event, now_ns / NS_PER_MS)
        for command in commands:
            kind = type(command)
            if kind is Send:
                self._send(command)  # type: ignore[arg-type]
            elif kind in JOBS:
                assert self._device is not None, "a role requested compute on a node without models"
                if self._capacity is not None and kind in TARGET_JOBS:
                    self._capacity.take(command)  # type: ignore[arg-type]
                self._device.submit(command, self._answered)  # type: ignore[arg-type]
            else:
                self._execute(command, now_ns)
        return commands

    def _send(self, command: Send) -> None:
        self.paths[command.to](command.message)  # there is one: testbed.policies.faults

    def _execute(self, command: Command, now_ns: int) -> None:
        match command:
            case Emit(request=request, tokens=tokens):
                self.recorder.emitted(request, tokens, now_ns)
            case Finish(request=request, kept=kept):
                if self._device is not None and not kept:
                    self._device.release(request)
                if self._capacity is not None:
                    self._capacity.release(request)
                self.recorder.over(request)
                self._on_finish(request)
            case Evict(request=request):
                if self._device is not None:
                    self._device.release(request)
            case SetTimer(name=name, at=at):
                self._cancel(name)
                self._timers[name] = self._kernel.timer(max(now_ns, round(at * NS_PER_MS)), self._fire, name)
            case CancelTimer(name=name):
                self._cancel(name)
            case Send() | Draft() | DraftTree() | DraftBatch() | Verify() | VerifyTree() | VerifyBatch():
                raise AssertionError("carried out where it is dispatched")
            case _:
                assert_never(command)

    def _answered(self, done: tuple[DeviceJob, int, JobDone, list[PassRecord]]) -> None:
        if self.stopped:
            return
        job, submitted_ns, ready, passes = done
        if not self.recorder.detailed:
            self._dispatch(ready)
            return
        self.recorder.steps(job, submitted_ns, passes)
        commands = self._dispatch(ready)
        if type(ready) is VerifyReady or type(ready) is BatchReady:
            self.recorder.rounds(job, submitted_ns, ready, commands, passes[-1].finished_ns)

    def _fire(self, name: Any) -> None:
        self._timers.pop(name, None)
        if not self.stopped:
            self._dispatch(TimerFired(name))

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
