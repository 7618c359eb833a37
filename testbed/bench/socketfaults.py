"""`python -m testbed.bench faults --sockets`: every policy over real TCP on loopback, through proxies that fail.

Nodes are the emulation's own endpoints and role hosts in one process, with models that answer at once; each connection
goes through a proxy that delays, reads slowly, stops one direction, or breaks the connection and lets it be made again;
and nodes hang up or are started anew. What must hold is that of `testbed.bench.faults`: a request ends with the
target's own output, or an endpoint says why not; it is lost only where a node has gone. TCP itself neither doubles nor
mixes up; doubles come from what is sent again after a break.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from testbed.bench.scripteddevice import ScriptedDevice
from testbed.bench.socketproxy import KINDS, Proxy, SocketFault
from testbed.decoding.sampling import Sampling
from testbed.models.devices import load_profile
from testbed.nodes.capacity import limits_of
from testbed.nodes.recorder import PhaseLog, Recorder
from testbed.nodes.rolehost import RoleHost
from testbed.policies import registry
from testbed.policies.api import RoleContext
from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.wire.greeting import keys_of, new_secret
from testbed.wire.messages import Ping
from testbed.wire.tcp import RESUME_S, TcpEndpoint
from testbed.workload.planned import PlannedRequest

PING_S = 0.1
PATIENCE_S = RESUME_S + 20.0  # until a peer that stays away is named
CONNECT_S = 10.0
OUTPUT_TOKENS = 20
DEVICE = "l40s/llama-3.1-8b"
ROLES = ("user", "target", "drafter")


@dataclass(frozen=True)
class SocketCase:
    number: int
    policy: str
    params: tuple[tuple[str, Any], ...]
    faults: tuple[SocketFault, ...]

    @property
    def may_lose(self) -> bool:
        return any(fault.kind in ("hang_up", "restart") for fault in self.faults)


def draw(number: int, variants: Sequence[tuple[str, dict[str, Any]]]) -> SocketCase:
    chance = random.Random(f"sockets/{number}")
    policy, params = variants[number % len(variants)]
    nodes = [f"{role}0" for role in registry.get(policy).roles if role != "target"]
    faults = tuple(
        SocketFault(
            chance.choice(KINDS),
            chance.choice(nodes),
            chance.random() < 0.5,
            0.3 * chance.random(),
            chance.choice((0.02, 0.1, 0.5)) * chance.random(),
        )
        for _ in range(chance.choice((1, 1, 2, 3, 4)))
    )
    return SocketCase(number, policy, tuple(params.items()), faults)


class SocketRun:
    """One case: its nodes, proxies and what became of its requests."""

    def __init__(self, case: SocketCase) -> None:
        self._case = case
        entropies = ByOutcome(Exponential(0.3), Exponential(1.5))
        self._table = iid_table(made_up_prompts(2, 8, 1), OUTPUT_TOKENS, 0.75, entropies, entropies, 3, depth=8)
        self._planned = [
            PlannedRequest(number, prompt, one.prompt, len(one.tokens), Sampling(), (), None)
            for number, (prompt, one) in enumerate(self._table.prompts.items(), start=1)
        ]
        self._spec = registry.get(case.policy)
        self._params = self._spec.parse(dict(case.params))
        self._peers = {role: [f"{role}0"] for role in ROLES if role in self._spec.roles}
        self._secret = new_secret()
        self._endpoints: dict[str, TcpEndpoint] = {}
        self._hosts: dict[str, RoleHost] = {}
        self._log = PhaseLog()
        self._recorders: dict[str, Recorder] = {}
        self._proxies: dict[str, Proxy] = {}
        self._ports: dict[str, int] = {}  # of the proxy that stands before the target, by node
        self._left = {one.request for one in self._planned}
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.reasons: list[str] = []

    async def run(self) -> tuple[list[str], int, int]:
        """What does not hold, and how many requests ended and did not."""
        loop = asyncio.get_running_loop()
        hung = False
        try:
            await self._bring_up()
            self._tasks += [loop.create_task(self._meet(fault)) for fault in self._case.faults]
            for one in self._planned:
                self._hosts["user0"].issue(one, time.monotonic_ns())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._over.wait()
            except TimeoutError:
                hung = True
        finally:
            await self._take_down()
        return self._judged(hung)

    @property
    def made_again(self) -> int:
        return sum(max(0, proxy.connections - 1) for proxy in self._proxies.values())

    def _judged(self, hung: bool) -> tuple[list[str], int, int]:
        wrong = ["hangs: no request ended, and no endpoint said why"] if hung else []
        user = self._recorders["user0"]
        for row in self._log.requests:
            if row.tokens != self._table.prompts[row.prompt_id].tokens:
                wrong.append(f"request {row.request}: its output changed")
        for request, tokens in user.unfinished().items():
            whole = self._table.prompts[self._planned[request - 1].prompt_id].tokens
            if tokens != whole[: len(tokens)]:
                wrong.append(f"request {request}: what was handed out of it is not a prefix of its output")
        if self._left and not hung and not self._case.may_lose:
            wrong.append(f"lost, though no node had gone: {'; '.join(self.reasons)}")
        return wrong, len(self._log.requests), len(self._left)

    async def _bring_up(self) -> None:
        nodes = [node for names in self._peers.values() for node in names]
        for node in nodes:
            self._recorders[node] = Recorder(self._case.policy, 0, node, node, self._log)
            self._make(node)
        port = await self._endpoints["target0"].listen("127.0.0.1", 0)
        for node in nodes:
            if node != "target0":
                proxy = self._proxies[node] = Proxy(port)
                await self._dial(node, await proxy.listen())
        await self._endpoints["target0"].wait_for([node for node in nodes if node != "target0"], CONNECT_S)
        self._tasks.append(asyncio.get_running_loop().create_task(self._ping()))

    def _make(self, node: str) -> None:
        role = node.rstrip("0")
        endpoint = TcpEndpoint(
            node,
            lambda arrival: self._hosts[node].arrived(arrival),
            self._failed,
            keys_of(self._secret, node, [peer for names in self._peers.values() for peer in names if peer != node]),
        )
        self._endpoints[node] = endpoint
        self._hosts[node] = RoleHost(
            self._spec.role(role, self._params, RoleContext(node, self._peers, limits_of(load_profile(DEVICE)))),
            endpoint,
            ScriptedDevice(self._table, self._planned),
            self._recorders[node],
            (self._planned[0].request, self._planned[-1].request),
            self._finished if role == "user" else lambda request: None,
        )

    async def _dial(self, node: str, port: int) -> None:
        await self._endpoints[node].connect("target0", "127.0.0.1", port, CONNECT_S)
        self._ports[node] = port

    async def _ping(self) -> None:
        while True:
            for endpoint in list(self._endpoints.values()):
                for peer in endpoint.peers():
                    endpoint.send(peer, Ping(time.monotonic_ns()))
            await asyncio.sleep(PING_S)

    async def _meet(self, fault: SocketFault) -> None:
        await asyncio.sleep(fault.at_s)
        if fault.kind not in ("hang_up", "restart"):
            self._proxies[fault.node].meet(fault)
            return
        self._hosts[fault.node].stop()
        await self._endpoints[fault.node].close()
        if fault.kind == "restart" and not self._over.is_set():
            self._make(fault.node)
            with contextlib.suppress(Exception):  # the target need not let it in
                await self._dial(fault.node, self._ports[fault.node])

    def _finished(self, request: int) -> None:
        self._recorders["user0"].finished(request, time.monotonic_ns())
        self._left.discard(request)
        if not self._left:
            self._over.set()

    def _failed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._over.set()

    async def _take_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        for host in self._hosts.values():
            host.stop()
        for endpoint in self._endpoints.values():
            await endpoint.close()
        for proxy in self._proxies.values():
            await proxy.close()


@dataclass
class SocketOutcome:
    case: SocketCase
    wrong: list[str]
    ended: int
    lost: int
    reasons: list[str]
    made_again: int  # connections that broke


async def _one(case: SocketCase, turn: asyncio.Semaphore) -> SocketOutcome:
    async with turn:
        one = SocketRun(case)
        try:
            wrong, ended, lost = await one.run()
        except Exception as error:  # whatever a role or an endpoint raises is what is looked for
            wrong, ended, lost = [f"{type(error).__name__}: {error}"], 0, 2
        return SocketOutcome(case, wrong, ended, lost, one.reasons, one.made_again)


def run_all(cases: Sequence[SocketCase], at_once: int = 8) -> list[SocketOutcome]:
    async def gathered() -> list[SocketOutcome]:
        turn = asyncio.Semaphore(at_once)
        return await asyncio.gather(*(_one(case, turn) for case in cases))

    return asyncio.run(gathered())
