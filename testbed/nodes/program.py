"""The node program: one asyncio loop that joins wire, role and model worker, driven by control lines on stdin.

Started as `python -m testbed.nodes.program CONFIG.json` inside the node's network namespace or container. Ends when
stdin closes, so it cannot outlive the engine that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec

from testbed.errors import TestbedError
from testbed.models.devices import load_profile
from testbed.nodes.capacity import Capacity, limits_of
from testbed.nodes.control import (
    AllDone,
    Beat,
    Connect,
    Connected,
    ControlCommand,
    ControlReply,
    Failed,
    Issue,
    NodeConfig,
    PolicyStarted,
    PolicyStopped,
    Quit,
    Ready,
    RequestDone,
    StartPolicy,
    StopPolicy,
    line,
)
from testbed.nodes.jobs import WorkerConfig, WorkerReady
from testbed.nodes.pacing import precise_timers
from testbed.nodes.priority import precede_compute
from testbed.nodes.recorder import Recorder
from testbed.nodes.rolehost import RoleHost
from testbed.nodes.rowfile import RowFile
from testbed.nodes.userdriver import UserDriver
from testbed.nodes.workerclient import WorkerClient, precise_loop
from testbed.policies import registry
from testbed.policies.api import RoleContext
from testbed.wire.messages import Ping, Pong
from testbed.wire.tcp import TcpEndpoint
from testbed.wire.transport import Arrival

PINGS_AT_CONNECT = 9
PING_INTERVAL_S = 0.25
PONG_TIMEOUT_S = 10.0
BEAT_INTERVAL_S = 1.0


class Replies(Protocol):
    """Where a node's replies go: its standard output, or a container's socket."""

    def write(self, data: bytes, /) -> int | None: ...


class NodeProgram:
    """One node for the whole run; roles come and go with StartPolicy and StopPolicy."""

    def __init__(self, config: NodeConfig, replies: Replies) -> None:
        self._config = config
        self._replies = replies
        self._endpoint = TcpEndpoint(config.node, self._arrived, self._failed)
        self._worker: WorkerClient | None = None
        self._host: RoleHost | None = None
        self._recorder: Recorder | None = None
        self._log: RowFile | None = None
        self._driver: UserDriver | None = None
        self._rtt_samples: dict[str, list[float]] = {}
        self._finished = asyncio.Event()
        self._pinger: asyncio.Task[None] | None = None

    async def run(self) -> None:
        # whatever is raised in a callback, a policy's own exceptions included, ends the node instead of being swallowed
        asyncio.get_running_loop().set_exception_handler(self._raised)
        reader = await _stdin()
        beats = asyncio.create_task(self._beat_forever())
        ready = WorkerReady()
        if self._config.models:
            self._worker = WorkerClient(on_death=self._failed)
            wanted = WorkerConfig(
                self._config.models,
                self._config.devices,
                self._config.threads,
                self._config.device,
                self._config.gpu_memory_fraction,
                self._config.passes,
            )
            if self._config.shared_worker is not None:
                joined = await self._worker.join(self._config.shared_worker, wanted)
                ready = msgspec.structs.replace(joined, resident_mb=0.0)  # its memory is not ours
            else:
                ready = await self._worker.start(wanted, self._config.cpus)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the message path would look like network delay
        self._reply(Ready(ready.models, ready.resident_mb, precede_compute(), ready.device, ready.passes))
        commands = asyncio.create_task(self._serve(reader))
        ended = asyncio.create_task(self._finished.wait())
        done, _ = await asyncio.wait([commands, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        beats.cancel()
        if self._worker is not None:
            await self._worker.close()
        await self._endpoint.close()

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        decoder = msgspec.json.Decoder(ControlCommand)
        while text := await reader.readline():
            command = decoder.decode(text)
            if isinstance(command, Quit):
                break
            await self._obey(command)
        self._finished.set()

    async def _obey(self, command: ControlCommand) -> None:
        match command:
            case Connect():
                self._endpoint.keys.update(command.keys)
                if command.expect:
                    await self._endpoint.listen(self._config.address)
                for peer, address in command.dial.items():
                    await self._endpoint.connect(peer, address)
                await self._endpoint.wait_for(command.expect)
                await self._measure_peers()
                self._pinger = asyncio.create_task(self._ping_forever())
                self._reply(Connected(self._endpoint.congestion_control))
            case StartPolicy():
                self._start_policy(command)
                self._reply(PolicyStarted())
            case Issue():
                assert self._host is not None
                self._driver = UserDriver(command.requests, self._host.issue, lambda: self._reply(AllDone()))
                self._driver.start()
            case StopPolicy():
                assert self._host is not None and self._log is not None
                self._host.stop()
                self._log.close()
                stopped = PolicyStopped(self._host.stale_messages, self._log.rows)
                self._host = self._recorder = self._driver = self._log = None
                gc.collect()
                self._reply(stopped)

    def _start_policy(self, command: StartPolicy) -> None:
        spec = registry.get(command.policy)
        params = spec.params.model_validate(command.params)
        context, capacity = RoleContext(self._config.node, command.peers), None
        if "target" in self._config.models:
            limits = limits_of(load_profile(self._config.devices["target"]))
            context = RoleContext(self._config.node, command.peers, limits)
            capacity = Capacity(self._config.node, limits)
        role = spec.role(command.role, params, context)
        self._log = RowFile(Path(command.log_path))
        self._recorder = Recorder(command.label, command.repeat, self._config.node, self._config.site, self._log)
        self._host = RoleHost(
            role, self._endpoint, self._worker, self._recorder, command.requests, self._request_finished, capacity
        )
        for peer, samples in self._rtt_samples.items():
            for rtt_ms in samples:
                self._host.sample(peer, rtt_ms)

    def _request_finished(self, request: int) -> None:
        if self._driver is None or self._recorder is None:
            return  # not the user's node
        tokens = self._recorder.finished(request, time.monotonic_ns())
        self._reply(RequestDone(request, tokens))
        # the next request starts from the loop, not from inside the role's own commands
        asyncio.get_running_loop().call_soon(self._driver.finished, request)

    # --- round-trip times for the policies ---

    async def _measure_peers(self) -> None:
        """A few round trips to every peer, all peers at once."""
        peers = self._endpoint.peers()
        self._rtt_samples = {peer: [] for peer in peers}
        for number in range(1, PINGS_AT_CONNECT + 1):
            for peer in peers:
                self._endpoint.send(peer, Ping(time.monotonic_ns()))
            try:
                async with asyncio.timeout(PONG_TIMEOUT_S):
                    while any(len(samples) < number for samples in self._rtt_samples.values()):
                        await asyncio.sleep(0.001)
            except TimeoutError:
                silent = [peer for peer, samples in self._rtt_samples.items() if len(samples) < number]
                raise TestbedError(f"no answer from {', '.join(silent)} within {PONG_TIMEOUT_S:.0f} s") from None

    async def _ping_forever(self) -> None:
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            for peer in self._endpoint.peers():
                self._endpoint.send(peer, Ping(time.monotonic_ns()))

    # --- callbacks ---

    def _arrived(self, arrival: Arrival) -> None:
        if isinstance(arrival.message, Pong) and self._host is None:
            samples = self._rtt_samples.setdefault(arrival.sender, [])
            samples.append((arrival.received_ns - arrival.message.ping_sent_ns) / 1e6)
        elif self._host is not None:
            self._host.arrived(arrival)

    async def _beat_forever(self) -> None:
        while True:
            self._reply(Beat())
            await asyncio.sleep(BEAT_INTERVAL_S)

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)  # the traceback, into the log
        error = context.get("exception")
        if isinstance(error, TestbedError):  # says what is wrong itself
            self._failed(str(error), error.exit_code)
            return
        self._failed(f"{type(error).__name__}: {error}" if error is not None else context["message"])

    def _failed(self, why: str, exit_code: int = 1) -> None:
        if not self._finished.is_set():
            self._reply(Failed(why, exit_code))
            self._finished.set()

    def _reply(self, reply: ControlReply) -> None:
        self._replies.write(line(reply))


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def main(config_path: str) -> int:
    config = msgspec.json.decode(Path(config_path).read_bytes(), type=NodeConfig)
    # replies get a descriptor of their own: whatever a library prints belongs in the log
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return serve(config, replies)


def serve(config: NodeConfig, replies: Replies) -> int:
    """The node until stdin closes; its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    precise_timers()
    try:
        with asyncio.Runner(loop_factory=None if config.shared_worker is None else precise_loop) as runner:
            runner.run(NodeProgram(config, replies).run())
    except TestbedError as error:
        with contextlib.suppress(BrokenPipeError):
            replies.write(line(Failed(str(error), error.exit_code)))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
