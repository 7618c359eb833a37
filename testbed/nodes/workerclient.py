"""The node program's side of its model worker: starts or joins it, sends jobs, hands each answer to who asked.

An answer comes as soon as it is computed and waits here until it is due, for the node program wakes up on time. Rule
kept: no answer is handed on before the emulated device would have had it, and none before an earlier one; and the run's
clock does not pass the time at which one is due before it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import msgspec

from testbed.clock.waiting import HANDLING_NS, SPIN_NS, STANDING_S, Barriers
from testbed.errors import RunInvalid, TestbedError, error_of
from testbed.models.timing import Timed
from testbed.nodes.control import Bound
from testbed.nodes.expected import ExpectedDues
from testbed.nodes.jobs import Answer, Refused, Release, Reply, Submit, WorkerConfig, WorkerReady, frame
from testbed.nodes.rolehost import OnAnswer
from testbed.nodes.tenants import ALONE, Alone
from testbed.policies.api import DeviceJob, DeviceSample
from testbed.system.processes import ending, ending_with_this
from testbed.system.units import NS_PER_S, NS_PER_US
from testbed.wire.framing import Frames
from testbed.wire.inbox import Inbox

HAND_OVER_NS = 200 * NS_PER_US  # a node that wakes up in time hands an answer over much sooner after it is due


class WorkerDied(RunInvalid):
    """The model worker ended though it was needed, and did not say why."""


class WorkerClient(Inbox):
    """Implements `Device` over a connected socket. Jobs are answered in order; a release is not answered."""

    def __init__(
        self,
        on_death: Callable[[TestbedError], None],
        barriers: Barriers,
        profiles: Mapping[str, Timed],
    ) -> None:
        super().__init__()
        self._on_death = on_death
        self._barriers = barriers
        self._clock = barriers.clock
        self._expected = ExpectedDues(profiles)
        self._frames = Frames()
        self._early: deque[tuple[int, Answer, OnAnswer]] = deque()  # computed, not yet due
        self._waiting: deque[tuple[int, OnAnswer]] = deque()
        self._dues: deque[int | None] = deque()  # of jobs not yet handed on
        self._ready: asyncio.Future[WorkerReady] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._closing = False
        self._death: asyncio.Future[None] | None = None
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self._seed = 0
        self._tenants: Alone = ALONE
        self.lookups = 0, 0  # a model asks no table

    async def start(self, config: WorkerConfig, cpus: tuple[int, ...] = ()) -> WorkerReady:
        """Returns when the models are loaded. Raises the worker's own error when they cannot be.

        Called in the main thread: see `testbed.system.processes.ending_with_this`.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *ending_with_this("testbed.nodes.worker", theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )
        if cpus:
            os.sched_setaffinity(self._process.pid, cpus)
        return await self._load(ours, config)

    async def join(self, descriptor: int, config: WorkerConfig) -> WorkerReady:
        """As `start`, with a worker that serves other nodes too, by a connection to it. To run on `precise_loop`."""
        # `precise_loop` takes no number above 1023, and this one was given by an engine with many nodes
        low = os.dup(descriptor)
        os.close(descriptor)
        return await self._load(socket.socket(fileno=low), config)

    async def _load(self, connection: socket.socket, config: WorkerConfig) -> WorkerReady:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=connection)
        self._transport = transport
        self._transport.write(frame(config))
        return await self._ready

    def begin(self, seed: int, bound: Sequence[Bound], tenants: Alone = ALONE) -> None:
        """A new trial: the device draws by `seed`. Models need no recorded outputs."""
        self._seed = seed
        self._tenants = tenants

    def submit(self, job: DeviceJob, on_answer: OnAnswer) -> None:
        assert self._transport is not None
        now = self._clock.now_ns()
        self._waiting.append((now, on_answer))
        # to the worker a job comes when others let the device have it: real passes are made at once all the same
        begins = self._tenants.start(now, self._expected.free_ns)
        self._dues.append(self._expected.put(job, begins, self._seed))
        if len(self._dues) == 1:
            self._await_first()
        self._transport.write(frame(Submit(job, begins, self._seed)))

    def sample(self) -> DeviceSample | None:
        """What others did with the device since the last sample; None where it is not shared."""
        return self._tenants.sample(self._clock.now_ns(), self._expected.free_ns)

    def release(self, request: int) -> None:
        assert self._transport is not None
        self._transport.write(frame(Release(request, self._clock.now_ns())))

    async def close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()
        if self._process is not None:
            if not self._ready.done():  # it does not listen while it loads
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()

    # --- asyncio.BufferedProtocol ---

    def received(self, data: memoryview) -> None:
        for body in self._frames.feed(data):
            match self._decode(body):
                case Answer() as answer:
                    self._answered(answer)
                case WorkerReady() as ready:
                    self._ready.set_result(ready)
                case Refused() as refused:
                    self._closing = True  # it has said why it ends
                    self._over(error_of(refused.exit_code, refused.error))
                    return
                case never:
                    assert_never(never)

    def _answered(self, answer: Answer) -> None:
        submitted_ns, on_answer = self._waiting.popleft()
        self._early.append((submitted_ns, answer, on_answer))
        if len(self._early) == 1:
            self._await_due()

    def _await_due(self) -> None:
        """The first of those computed is handed over when it is due: now, or shortly before, to spin over the rest."""
        while self._early:
            finished_ns = self._early[0][1].passes[-1].finished_ns
            left_ns = self._clock.wall_ns(finished_ns - self._clock.now_ns()) - SPIN_NS
            if left_ns > 0:
                self._barriers.set(self, finished_ns + HAND_OVER_NS)
                asyncio.get_running_loop().call_later(max(left_ns / NS_PER_S, STANDING_S), self._await_due)
                return
            self._hand_over(*self._early.popleft())

    def _hand_over(self, submitted_ns: int, answer: Answer, on_answer: OnAnswer) -> None:
        """When it is due, and not later: the clock does not pass that before the role has been told."""
        finished_ns = answer.passes[-1].finished_ns
        self._expected.done(finished_ns)
        self._barriers.hold_until(finished_ns)
        self._barriers.set(self, finished_ns + HANDLING_NS)
        on_answer(submitted_ns, answer)
        self._dues.popleft()
        self._await_first()

    def _await_first(self) -> None:
        """The job that is handed on next."""
        if self._dues and (due_ns := self._dues[0]) is not None:
            self._barriers.set(self, due_ns)  # exactly: what is computed later than that is late
        else:
            self._barriers.lift(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._death = asyncio.ensure_future(self._report_death())

    async def _report_death(self) -> None:
        if self._process is None:
            died = WorkerDied("the shared model worker has ended")
        else:
            died = WorkerDied(f"its model worker {ending(await self._process.wait())}")
        self._over(died)

    def _over(self, why: TestbedError) -> None:
        if self._ready.done():
            self._on_death(why)
        else:
            self._ready.set_exception(why)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Timers late by microseconds only: epoll's timeouts, as asyncio uses them, are rounded up to milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
