"""The node program: one asyncio loop that joins wire, role and model worker, driven by the engine's commands.

Started by `testbed.nodes.piped` in a network namespace, by `testbed.nodes.contained` in a container. Rule kept:
whatever goes wrong in it is one `Failed` reply, which says whose fault it is; a traceback is for the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
import traceback
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from testbed.clock.page import taking_part
from testbed.clock.waiting import Barriers, longest_s
from testbed.decoding.rng import device_seed
from testbed.errors import RunInvalid, TestbedError
from testbed.models.devices import load_profile
from testbed.nodes.capacity import Capacity, limits_of
from testbed.nodes.commands import Commands
from testbed.nodes.control import (
    AllDone,
    Beat,
    Cause,
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
from testbed.nodes.priority import precede_compute
from testbed.nodes.recorder import Recorder
from testbed.nodes.rolehost import RoleHost
from testbed.nodes.rowfile import RowFile
from testbed.nodes.tenants import ALONE, Alone, Tenants
from testbed.nodes.userdriver import UserDriver
from testbed.nodes.workerclient import WorkerClient, WorkerDied, precise_loop
from testbed.policies import registry
from testbed.policies.api import DEVICE_SAMPLE_INTERVAL_MS, RoleContext
from testbed.policies.faults import PolicyFault
from testbed.policies.prefixcaching import PrefixCaching
from testbed.policies.routing.options import Routing
from testbed.system.linux import precise_timers
from testbed.system.units import NS_PER_MS, NS_PER_S
from testbed.wire.messages import PING_INTERVAL_MS, PINGS_AT_CONNECT, Ping, Pong
from testbed.wire.tcp import TcpEndpoint
from testbed.wire.tcpinfo import NONE_SENT_AGAIN, TcpState
from testbed.wire.transport import Arrival
from testbed.workload.background import Background

if TYPE_CHECKING:
    from testbed.nodes.recorded import RecordedDevice

PONG_TIMEOUT_S = 10.0
BEAT_INTERVAL_S = 1.0
TIDY_S = 2.0  # between two collections, 0.1 ms each with 5000 objects


class PeerLost(RunInvalid):
    """Another node is not there, or not any more: most often a consequence of something else."""


class Replies(Protocol):
    """Where a node's replies go: its standard output, or a container's socket."""

    def write(self, data: bytes, /) -> int | None: ...


class NodeProgram:
    """One node for the whole run; roles come and go with StartPolicy and StopPolicy."""

    def __init__(self, config: NodeConfig, replies: Replies) -> None:
        self._config = config
        self._replies = replies
        self._clock = taking_part(config.clock, config.node)
        self._barriers = Barriers(self._clock)
        self._endpoint = TcpEndpoint(
            config.node, self._arrived, lambda why: self._failed(PeerLost(why)), clock=self._clock
        )
        self._commands: asyncio.Queue[ControlCommand] = asyncio.Queue()
        self._worker: WorkerClient | RecordedDevice | None = None
        self._host: RoleHost | None = None
        self._recorder: Recorder | None = None
        self._log: RowFile | None = None
        self._driver: UserDriver | None = None
        self._samples_device = False  # its role wants to hear what others do to the device
        self._rtt_samples: dict[str, deque[float]] = {}  # the latest of each peer, for the next policy
        self._tidied = 0.0  # time.monotonic of the last collection
        self._finished = asyncio.Event()
        self._pinger: asyncio.Task[None] | None = None
        self._tcp_before: dict[str, TcpState] = {}  # as this policy began

    async def run(self, commands: Commands) -> None:
        """Returns when the engine has said Quit, or a failure has been reported; raises what else goes wrong."""
        loop = asyncio.get_running_loop()
        # whatever is raised in a callback, a policy's own exceptions included, ends the node instead of being swallowed
        loop.set_exception_handler(self._raised)

        def take(data: bytes) -> None:
            for text in commands.lines(data):
                self._commanded(text)

        def deliver(data: bytes) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: this program has ended
                loop.call_soon_threadsafe(take, data)

        commands.deliver_to(deliver)
        background = [asyncio.create_task(self._beat_forever())]
        life = asyncio.create_task(self._live())
        ended = asyncio.create_task(self._finished.wait())
        try:
            await asyncio.wait([life, ended], return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
        finally:
            for task in (life, ended, *background):
                task.cancel()
            if self._worker is not None:
                await self._worker.close()
            await self._endpoint.close()

    async def _live(self) -> None:
        """Comes up, and obeys."""
        ready = await self._load() if self._config.models else WorkerReady()
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the message path would look like network delay
        self._reply(Ready(ready.models, ready.resident_mb, precede_compute(), ready.accelerator, ready.passes))
        while True:
            await self._obey(await self._commands.get())

    async def _load(self) -> WorkerReady:
        profiles = {role: load_profile(name) for role, name in self._config.devices.items()}
        if self._config.table:
            from testbed.nodes.recorded import RecordedDevice  # tables: not for nodes whose models run

            self._worker = RecordedDevice(Path(self._config.table), self._config.devices, self._clock, self._barriers)
            return WorkerReady()
        self._worker = worker = WorkerClient(self._failed, self._barriers, profiles)
        wanted = WorkerConfig(
            self._config.models,
            {role: profile.timing for role, profile in profiles.items()},
            self._config.threads,
            self._config.accelerator,
            self._config.gpu_memory_fraction,
            self._config.passes,
            self._config.fitness,
            self._config.clock,
        )
        if self._config.shared_worker is None:
            return await worker.start(wanted, self._config.cpus)
        joined = await worker.join(self._config.shared_worker, wanted)
        return msgspec.structs.replace(joined, resident_mb=0.0)  # its memory is not ours

    def _commanded(self, text: bytes) -> None:
        """Quit is obeyed at once, whatever else is being done; the others one after the other."""
        command = msgspec.json.decode(text, type=ControlCommand)
        if isinstance(command, Quit):
            self._finished.set()
        else:
            self._commands.put_nowait(command)

    async def _obey(self, command: ControlCommand) -> None:
        match command:
            case Connect():
                try:
                    await self._connect(command)
                except TestbedError as error:
                    raise PeerLost(str(error)) from error
                self._pinger = asyncio.create_task(self._ping_forever())
                self._reply(Connected(self._endpoint.congestion_control))
            case StartPolicy():
                self._start_policy(command)
                self._reply(PolicyStarted())
            case Issue():
                assert self._host is not None
                self._driver = UserDriver(
                    command.requests, self._host.issue, lambda: self._reply(AllDone()), self._barriers
                )
                self._driver.start()
            case StopPolicy():
                assert self._host is not None and self._log is not None
                self._host.stop()
                if self._driver is not None:
                    self._driver.stop()
                self._log.close()
                lookups = (0, 0) if self._worker is None else self._worker.lookups
                stopped = PolicyStopped(self._host.stale_messages, self._log.rows, lookups, self._tcp_since())
                self._host = self._recorder = self._driver = self._log = None
                gc.collect()
                self._reply(stopped)

    async def _connect(self, command: Connect) -> None:
        self._endpoint.keys.update(command.keys)
        if command.expect:
            await self._endpoint.listen(self._config.address)
        for peer, address in command.dial.items():
            try:
                await self._endpoint.connect(peer, address)
            except OSError as error:  # as when there is no network any more
                raise PeerLost(f"cannot reach {peer} at {address}: {error.strerror}") from error
        await self._endpoint.wait_for(command.expect)
        await self._measure_peers()

    def _tcp_since(self) -> dict[str, TcpState]:
        before, now = self._tcp_before, self._endpoint.tcp_states()
        return {peer: state.since(before.get(peer, NONE_SENT_AGAIN)) for peer, state in now.items()}

    def _start_policy(self, command: StartPolicy) -> None:
        self._tcp_before = self._endpoint.tcp_states()
        spec = registry.get(command.policy, command.files)
        params = spec.params.model_validate(command.params)
        context, capacity = RoleContext(self._config.node, command.peers), None
        if "target" in self._config.models:
            limits = limits_of(load_profile(self._config.devices["target"]), command.background)
            context = RoleContext(self._config.node, command.peers, limits)
            capacity = Capacity(self._config.node, limits)
        routing = None if command.routing is None else Routing.model_validate(command.routing)
        keeping = None if command.keeping is None else PrefixCaching.model_validate(command.keeping)
        role = spec.role(command.role, params, context, command.label, routing, keeping)
        self._samples_device = spec.device_samples(params)
        if self._worker is not None:
            seed = device_seed(command.seed, command.repeat, self._config.node)
            self._worker.begin(seed, command.bound, self._tenants(command.background))
        self._log = RowFile(Path(command.log_path))
        self._recorder = Recorder(command.label, command.repeat, self._config.node, self._config.site, self._log)
        self._host = RoleHost(
            role,
            self._endpoint,
            self._worker,
            self._recorder,
            command.requests,
            self._request_finished,
            capacity,
            self._barriers,
        )
        for peer, samples in self._rtt_samples.items():
            for rtt_ms in samples:
                self._host.sample(peer, rtt_ms)

    def _tenants(self, background: Background | None) -> Alone:
        """Others on this node's device, from now on."""
        if background is None:
            return ALONE
        return Tenants(background, load_profile(self._config.devices[background.model]), self._clock.now_ns())

    def _request_finished(self, request: int) -> None:
        self._tidy()
        if self._driver is None or self._recorder is None:
            return  # not the user's node
        tokens = self._recorder.finished(request, self._clock.now_ns())
        self._reply(RequestDone(request, tokens))
        # the next request starts from the loop, not from inside the role's own commands
        asyncio.get_running_loop().call_soon(self._driver.finished, request)

    def _tidy(self) -> None:
        """What a role dropped in cycles, such as trees, goes now and then, just after a request."""
        now = time.monotonic()
        if now - self._tidied >= TIDY_S:
            self._tidied = now
            asyncio.get_running_loop().call_soon(gc.collect)

    # --- round-trip times for the policies ---

    async def _measure_peers(self) -> None:
        """A few round trips to every peer, all peers at once."""
        peers = self._endpoint.peers()
        self._rtt_samples = {peer: deque(maxlen=PINGS_AT_CONNECT) for peer in peers}
        for number in range(1, PINGS_AT_CONNECT + 1):
            for peer in peers:
                self._endpoint.send(peer, Ping(self._clock.now_ns()))
            try:
                async with asyncio.timeout(longest_s(self._clock, PONG_TIMEOUT_S)):
                    while any(len(samples) < number for samples in self._rtt_samples.values()):
                        await asyncio.sleep(0.001)
            except TimeoutError:
                silent = [peer for peer, samples in self._rtt_samples.items() if len(samples) < number]
                raise TestbedError(f"no answer from {', '.join(silent)} within {PONG_TIMEOUT_S:.0f} s") from None

    async def _ping_forever(self) -> None:
        assert PING_INTERVAL_MS == DEVICE_SAMPLE_INTERVAL_MS
        while True:
            await asyncio.sleep(self._clock.wall_ns(PING_INTERVAL_MS * NS_PER_MS) / NS_PER_S)
            for peer in self._endpoint.peers():
                self._endpoint.send(peer, Ping(self._clock.now_ns()))
            if self._samples_device and self._host is not None:
                self._host.sample_device()

    # --- callbacks ---

    def _arrived(self, arrival: Arrival) -> None:
        if isinstance(arrival.message, Pong) and self._host is None:
            samples = self._rtt_samples.setdefault(arrival.sender, deque(maxlen=PINGS_AT_CONNECT))
            samples.append((arrival.received_ns - arrival.message.ping_sent_ns) / 1e6)
        elif self._host is not None:
            self._host.arrived(arrival)

    async def _beat_forever(self) -> None:
        while True:
            self._reply(Beat())
            await asyncio.sleep(BEAT_INTERVAL_S)

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)  # the traceback, into the log
        self._failed(context.get("exception") or RunInvalid(str(context["message"])))

    def _failed(self, error: BaseException) -> None:
        if not self._finished.is_set():
            self._reply(failure(error))
            self._finished.set()

    def _reply(self, reply: ControlReply) -> None:
        self._replies.write(line(reply))


def failure(error: BaseException) -> Failed:
    """The reply to what went wrong here."""
    if not isinstance(error, TestbedError):
        words = " ".join(str(error).split())
        return Failed(f"{type(error).__name__}: {words}" if words else type(error).__name__)
    causes: dict[type, Cause] = {WorkerDied: "worker", PeerLost: "peer", PolicyFault: "policy"}
    return Failed(str(error), error.exit_code, causes.get(type(error), "own"))


def serve(config: NodeConfig, commands: Commands, replies: Replies) -> int:
    """The node until it is told to quit, or the engine is gone; its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    precise_timers()
    try:
        with asyncio.Runner(loop_factory=precise_loop) as runner:
            runner.run(NodeProgram(config, replies).run(commands))
    except Exception as error:
        if isinstance(error, PolicyFault) or not isinstance(error, TestbedError):
            traceback.print_exc()  # into the log
        reply = failure(error)
        with contextlib.suppress(OSError):  # the engine is gone
            replies.write(line(reply))
        return reply.exit_code
    return 0
