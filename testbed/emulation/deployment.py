"""The node programs of one run: started in their namespaces or begun in their containers, connected, stopped again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, Queue
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from testbed.clock.api import WALL, Clock
from testbed.clock.run import RunClock
from testbed.clock.waiting import Limit
from testbed.containers import mounts
from testbed.containers.nodes import ContainerNodes
from testbed.containers.specification import CLOCK, pack_inside
from testbed.emulation.answers import Answers
from testbed.emulation.confinement import Confinement, precede_compute
from testbed.emulation.evidence import Evidence
from testbed.emulation.loads import loads, processes, sharing
from testbed.emulation.nodekind import model_folders
from testbed.emulation.nodeprocess import Inbox, NodeProcess, PipedProgram, Program
from testbed.emulation.nodetemplate import WARM, WARM_RECORDED, NodeTemplate
from testbed.emulation.sharedworkers import SharedWorkers
from testbed.errors import RunInvalid
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.scenario import Scenario
from testbed.files.whole import writing
from testbed.models.fit import Fitness
from testbed.network.network import Network
from testbed.nodes.control import Beat, Connect, Connected, ControlCommand, ControlReply, Failed, NodeConfig, Ready
from testbed.nodes.leftfile import open_left
from testbed.policies.routing.options import as_data
from testbed.system.broughtup import BroughtUp
from testbed.system.interrupt import taking_down
from testbed.wire.greeting import keys_of, new_secret
from testbed.workload.background import Background

LOAD_TIMEOUT_S = 180.0
CONNECT_TIMEOUT_S = 60.0
GRACE_S = 3.0
LOOK_S = 0.5
STARTING_AT_ONCE = 8  # programs that have yet to say a word: dozens at once would be silent for too long on two cores
FREEZE_TRIES = 20

T = TypeVar("T", bound=ControlReply)


class Stalled(RunInvalid):
    """No part failed, but there was no progress for too long."""


class Deployment(BroughtUp):
    """All nodes of a run. Use as a context manager: leaving it stops every node."""

    def __init__(
        self,
        scenario: Scenario,
        network: Network,
        log_dir: Path,
        containers: ContainerNodes | None = None,
        fitness: Fitness = Fitness(),  # noqa: B008  # a frozen struct
        answers: Answers | None = None,  # None: models run
        clock: RunClock | None = None,
        background: Callable[[int], Mapping[str, Background]] = lambda repeat: {},
    ) -> None:
        self.background = background  # other tenants of the nodes' devices, by repeat
        self.answers = answers
        self._run_clock = clock
        self._clock: Clock = WALL if clock is None else clock.clock
        self._fitness = fitness
        self.seed = scenario.seed
        self._scenario = scenario
        self._network = network
        self._log_dir = log_dir
        self._containers = containers
        self._secret = new_secret()
        self.inbox: Inbox = Queue()
        self.nodes: dict[str, NodeProcess] = {}
        self.ready: dict[str, Ready] = {}
        self.congestion_control = "unknown"
        self.cpu_sets: dict[str, tuple[int, ...]] = {}
        self._pids: dict[str, int] = {}  # of programs that are processes of this machine
        self._confinement: Confinement | None = None  # of processes; containers have theirs from the engine
        self.workers = SharedWorkers(network, log_dir)
        self._template: NodeTemplate | None = None  # of programs that are processes
        self._evidence = Evidence(network, self._helpers_ended)

    def _raise_cause(self, error: BaseException | None) -> None:
        self._evidence.raise_cause(error, self.nodes.values)

    def close(self) -> None:
        """Ends every node: all are asked, all share one grace period. Safe at any moment, more than once."""
        with taking_down():
            for node in self.nodes.values():
                node.ask_to_end()
            deadline = time.monotonic() + GRACE_S
            for node in self.nodes.values():
                node.end(deadline)
            if self._template is not None:
                self._template.end(deadline)
            self.workers.end(deadline)

    def next_reply(self, limit_s: float, waiting_for: str) -> tuple[NodeProcess, ControlReply]:
        """The next reply but a beat. Raises what a node reported, or what is wrong with a node or the network.

        A node that is silent for too long is not waited for any longer; `limit_s` bounds the whole wait.
        """
        over = Limit(self._clock, limit_s).over
        while True:
            try:
                node, reply = self.inbox.get(timeout=LOOK_S)
            except Empty:
                self._look_around()
                if over():
                    raise Stalled(f"nothing happened for {limit_s:.0f} s while waiting for {waiting_for}") from None
                continue
            if reply is None or isinstance(reply, Failed):
                raise node.failure("failed")  # why, and whether it is only a consequence, is found in `_raise_cause`
            if not isinstance(reply, Beat):
                return node, reply
            if over():
                raise Stalled(f"nothing happened for {limit_s:.0f} s while waiting for {waiting_for}")
            self._look_around()

    def routing(self, entry: PolicyEntry) -> dict[str, object] | None:
        """What its nodes are told of how requests find their target; None where there is one."""
        return as_data(self._scenario.routing_of(entry))

    @property
    def keeping(self) -> dict[str, object] | None:
        """What nodes are told of what their models keep of requests that ended."""
        keeping = self._scenario.keeping
        return None if keeping is None else keeping.model_dump(mode="json")

    def freeze(self, name: str) -> None:
        """The node neither runs nor answers from now on, and nothing of it ends: see `thaw`."""
        for _ in range(FREEZE_TRIES):
            self.nodes[name].freeze()
            if self._run_clock is None or self._run_clock.excuse(name):
                return
            self.nodes[name].thaw()  # it was just changing the run's clock, which all others need
        raise RunInvalid(
            f"node {name}: the run's clock was being changed at each of {FREEZE_TRIES} attempts to stop it"
        )

    def thaw(self) -> None:
        """Every node that was frozen goes on where it was."""
        for node in self.nodes.values():
            node.thaw()

    def _look_around(self) -> None:
        self._network.check()
        now = time.monotonic()
        for node in self.nodes.values():
            node.check(now)

    def facts(self) -> dict[str, object]:
        """Provenance for the manifest: what the nodes said of themselves."""
        return {
            "node_memory_mb": {name: one.resident_mb for name, one in self.ready.items()},
            "node_model_hashes": {name: one.models for name, one in self.ready.items()},
            "node_priority": {name: one.priority for name, one in self.ready.items()},
            "node_accelerator": {name: one.accelerator for name, one in self.ready.items() if one.accelerator},
            "node_passes": {name: one.passes for name, one in self.ready.items() if one.passes},
            "node_capabilities": self._confinement.facts() if self._confinement else {},
            "workers": self.workers.facts(),
            "cpu_sets": {name: list(cpus) for name, cpus in self.cpu_sets.items()},
            "connection_congestion_control": self.congestion_control,
        }

    def rows_path(self, node: str, file_name: str) -> tuple[Path, str]:
        """A file the node is to write: where it lies here, and as the node sees it."""
        if self._containers is not None:
            return self._containers.rows_path(node, file_name)
        path = self._log_dir / file_name
        return path, str(path)

    def keep(self, path: Path) -> Path:
        """A file that a node wrote, in a place that lasts as long as the run's directory."""
        if path.parent == self._log_dir:
            return path
        ours = self._log_dir / path.name
        with open_left(path) as left, ours.open("xb") as copy:
            shutil.copyfileobj(left, copy)
        path.unlink()
        return ours

    def by_role(self) -> dict[str, list[str]]:
        peers: dict[str, list[str]] = {}
        for name, (role, _) in self._scenario.place.nodes().items():
            peers.setdefault(role, []).append(name)
        return peers

    def gather(
        self, commands: Mapping[str, ControlCommand], reply_type: type[T], timeout_s: float, what: str
    ) -> dict[str, T]:
        """Sends one command to each node named, waits for one reply of `reply_type` from each of them."""
        for name, command in commands.items():
            self.nodes[name].send(command)
        return self._await(set(commands), reply_type, timeout_s, what)

    def _await(self, names: set[str], reply_type: type[T], timeout_s: float, what: str) -> dict[str, T]:
        replies: dict[str, T] = {}
        while set(replies) != names:
            node, reply = self.next_reply(timeout_s, what)
            if isinstance(reply, reply_type):
                replies[node.name] = reply
        return replies

    def _bring_up(self) -> None:
        placed = self._scenario.place.nodes()
        models = loads(self._scenario)
        run = processes(self._scenario)
        served = sharing(run, in_containers=self._containers is not None)
        if self._containers is None:
            names = () if self._scenario.compute.recorded else self._scenario.models.model_dump().values()
            folders = model_folders(names)
            packs = map(Path, self._fitness.packs.values())
            self._confinement = Confinement([*folders, *packs, *mounts.of_names(self._scenario.resolved())])
            kept = list(self._confinement.kept)
            warm = WARM_RECORDED if self._scenario.compute.recorded else WARM
            self._template = NodeTemplate(self._network.hosts, self._log_dir / "template.log", kept, warm)
            self.workers.start(served, self._confinement)
        fitness = self._fitness
        if self._containers is not None:
            inside = {role: pack_inside(Path(path)) for role, path in fitness.packs.items()}
            fitness = replace(fitness, packs=inside)
        joined = {name for nodes in served for name in nodes}
        self.cpu_sets = cpu_sets(
            [name for name, (role, _) in placed.items() if role != "user" and name not in joined and run[name]]
        )
        for name, (_, site) in placed.items():
            compute = self._scenario.compute_of(name)
            config = NodeConfig(
                node=name,
                site=site,
                address=self._network.address(name),
                models=models[name] if self._containers is None else _at_their_places(models[name]),
                devices={"target": self._scenario.devices.target, "draft": self._scenario.devices.drafter},
                cpus=self.cpu_sets.get(name, ()) if compute.cpus is None else (),
                accelerator=compute.accelerator,
                gpu_memory_fraction=compute.gpu_memory_fraction,
                passes=compute.passes,
                fitness=fitness,
                table=self.answers.write(name, self._log_dir) if self.answers is not None and models[name] else "",
                shared_worker=self.workers.descriptor(name),
                clock=self._clock_path(),
            )
            config_path = self._log_dir / f"{name}.json"
            with writing(config_path):
                config_path.write_bytes(msgspec.json.format(msgspec.json.encode(config)))
            log_path = self._log_dir / f"{name}.log"
            program = self._launch(config, config_path, log_path)
            self.workers.started(name)
            self.nodes[name] = NodeProcess(name, program, log_path, self.inbox)
            if self._containers is not None:
                self.nodes[name].send(config)  # which its program has waited for
            self._let_them_start()
        self.ready = self._await(set(placed), Ready, LOAD_TIMEOUT_S, "the nodes to load their models")
        # they cannot do it themselves
        if self._containers is not None:
            got = self._containers.precede_compute()
        else:
            got = precede_compute(self._pids, self.workers.pids())
        self.ready = {name: replace(one, priority=got[name]) for name, one in self.ready.items()}
        targets = [name for name, (role, _) in placed.items() if role == "target"]
        others = [name for name in placed if name not in targets]
        commands: dict[str, ControlCommand] = {
            name: Connect({target: self._network.address(target) for target in targets}, [], self._keys(name, targets))
            for name in others
        }
        commands |= {target: Connect({}, others, self._keys(target, others)) for target in targets}
        connected = self.gather(commands, Connected, CONNECT_TIMEOUT_S, "the nodes to connect")
        self.congestion_control = next(iter(connected.values())).congestion_control

    def _clock_path(self) -> str | None:
        """As a node sees it."""
        if self._run_clock is None or self._containers is None:
            return None if self._run_clock is None else str(self._run_clock.path)
        return CLOCK

    def _keys(self, node: str, peers: list[str]) -> dict[str, bytes]:
        return keys_of(self._secret, node, peers)

    def _launch(self, config: NodeConfig, config_path: Path, log_path: Path) -> Program:
        if self._containers is not None:
            return self._containers.programs[config.node]
        assert self._template is not None
        node = self._network.pid(config.node)
        process = self._template.start(node, "testbed.nodes.piped", config_path, log_path, config.shared_worker)
        self._pids[config.node] = process.pid
        return PipedProgram(process)

    def _helpers_ended(self) -> dict[str, int]:
        return self.workers.ended() | ({} if self._template is None else self._template.ended())

    def _let_them_start(self) -> None:
        """Returns when fewer than STARTING_AT_ONCE programs have not yet reported."""
        while sum(not one.spoke and one.program.status() is None for one in self.nodes.values()) >= STARTING_AT_ONCE:
            self._look_around()
            time.sleep(0.02)


def cpu_sets(compute_nodes: list[str]) -> dict[str, tuple[int, ...]]:
    """A core for each model worker, if one more is left for the shaper and the rest; else none is pinned."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(compute_nodes) + 1:
        return {}
    return {name: (core,) for name, core in zip(compute_nodes, cores[1:], strict=False)}


def _at_their_places(models: Mapping[str, str]) -> dict[str, str]:
    """The same models, each by its folder, as a container has it."""
    return {role: str(next(iter(model_folders([name])), name)) for role, name in models.items()}
