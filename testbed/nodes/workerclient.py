"""The node program's side of its model worker: starts or joins it, sends jobs, hands each answer to who asked.

A node's own worker sends an answer when it is due, less its usual way; a shared one sends it at once, and the wait
is here. Rule kept: no answer is handed on before the emulated device would have had it, and none before an earlier one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from testbed.errors import RunInvalid, TestbedError, error_of
from testbed.nodes.control import Bound
from testbed.nodes.jobs import Answer, Refused, Release, Reply, Submit, WorkerConfig, WorkerReady, frame
from testbed.nodes.pacing import MAX_LEAD_NS, SPIN_NS, hold_until
from testbed.nodes.rolehost import OnAnswer
from testbed.policies.api import DeviceJob
from testbed.policies.estimates import RecentMedian
from testbed.system.processes import ending, ending_with_this
from testbed.wire.framing import Frames
from testbed.wire.inbox import Inbox


class WorkerDied(RunInvalid):
    """The model worker ended though it was needed, and did not say why."""


class WorkerClient(Inbox):
    """Implements `Device` over a connected socket. Jobs are answered in order; a release is not answered."""

    def __init__(self, on_death: Callable[[TestbedError], None]) -> None:
        super().__init__()
        self._on_death = on_death
        self._frames = Frames()
        self._early: deque[tuple[int, Answer, OnAnswer]] = deque()  # computed, not yet due
        self._waiting: deque[tuple[int, OnAnswer]] = deque()
        self._ready: asyncio.Future[WorkerReady] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._closing = False
        self._death: asyncio.Future[None] | None = None
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self._seed = 0
        self.lookups = 0, 0  # a model asks no table
        self._way_ns = RecentMedian(window=31)  # of an answer, from the worker to here

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
        """As `start`, with a worker that serves other nodes too, by a connection to it. Wants `precise_loop`."""
        # `precise_loop` takes no number above 1023, and this one was given by an engine with many nodes
        low = os.dup(descriptor)
        os.close(descriptor)
        return await self._load(socket.socket(fileno=low), config)

    async def _load(self, connection: socket.socket, config: WorkerConfig) -> WorkerReady:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=connection)
        self._transport = transport
        self._transport.write(frame(config))
        return await self._ready

    def begin(self, seed: int, bound: Sequence[Bound]) -> None:
        """A new trial: the device draws by `seed`. Models need no recorded outputs."""
        self._seed = seed

    def submit(self, job: DeviceJob, on_answer: OnAnswer) -> None:
        assert self._transport is not None
        now = time.monotonic_ns()
        self._waiting.append((now, on_answer))
        lead_ns = min(MAX_LEAD_NS, round(self._way_ns.value or 0))
        self._transport.write(frame(Submit(job, now, lead_ns, self._seed)))

    def release(self, request: int) -> None:
        assert self._transport is not None
        self._transport.write(frame(Release(request, time.monotonic_ns())))

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
        self._way_ns.add(time.monotonic_ns() - answer.left_ns)
        if self._process is None:
            self._keep(submitted_ns, answer, on_answer)
        else:
            hold_until(answer.passes[-1].finished_ns)
            on_answer(submitted_ns, answer)

    def _keep(self, submitted_ns: int, answer: Answer, on_answer: OnAnswer) -> None:
        self._early.append((submitted_ns, answer, on_answer))
        if len(self._early) == 1:
            self._wait_for_first()

    def _wait_for_first(self) -> None:
        """The event loop's clock is CLOCK_MONOTONIC too."""
        _, answer, _ = self._early[0]
        wake_ns = answer.passes[-1].finished_ns - SPIN_NS
        asyncio.get_running_loop().call_at(wake_ns / 1e9, self._hand_on)

    def _hand_on(self) -> None:
        submitted_ns, answer, on_answer = self._early.popleft()
        if self._early:
            self._wait_for_first()
        hold_until(answer.passes[-1].finished_ns)
        on_answer(submitted_ns, answer)

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
