"""`shaped_network(topology)`: a network of nodes with real, shaped links, for tests of any program.

    with shaped_network("two-sites") as network:
        network["near"].start("python3 -m http.server 8000")
        network["far"].run("curl --retry 5 --retry-connrefused http://near:8000")
        network.change("near", "far", one_way_ms=40, loss=0.01)

Programs see a network of nodes and nothing else: names resolve, addresses are in the environment, traffic takes the
links, and all of it ends with the block. Rule kept: the links are measured before the block begins, and what is not as
specified is said by `invalid_reasons`. One network stands at a time on a machine; another one waits for its turn.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from testbed.errors import BadInput, MachineCannot
from testbed.files.yamlfile import nearest

WAIT_S = 300.0  # for another network of this machine to be taken down
LOOK_S = 0.1
TIMEOUT_S = 60.0
LAST_LINES = 20
Links = Mapping[str, Mapping[str, float]]  # from: to: round-trip time in ms
Found = tuple[Any, str]  # a fabric and why
Command = str | Sequence[str]


class CommandFailed(subprocess.CalledProcessError):
    """A program in a node ended with another status than 0; its words are the error's."""

    def __init__(self, node: str, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(done.returncode, done.args, done.stdout, done.stderr)
        self.node = node

    def __str__(self) -> str:
        said = (self.stderr or self.stdout or "").strip().splitlines()[-LAST_LINES:]
        return "\n".join([f"node {self.node}: {self.cmd!r} ended with status {self.returncode}", *said])


@dataclass(frozen=True)
class Node:
    """One node. Its programs run in its network namespace, with this process's user, files and environment."""

    name: str
    address: str
    environment: Mapping[str, str]
    _network: Any

    def run(
        self,
        command: Command,
        *,
        timeout: float = TIMEOUT_S,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end; a text is the shell's. Raises CommandFailed, and subprocess.TimeoutExpired."""
        process = self.start(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            self._network.hosts.end(process)
            raise
        done = subprocess.CompletedProcess(command, process.returncode, out, err)
        if check and done.returncode:
            raise CommandFailed(self.name, done)
        return done

    def start(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> subprocess.Popen[str]:
        """Starts a program and leaves it running; it ends with the network, if not before."""
        argv = ["sh", "-c", command] if isinstance(command, str) else [os.fspath(word) for word in command]
        process: subprocess.Popen[str] = self._network.hosts.popen_whole(
            self._network.pid(self.name),
            argv,
            Path.cwd() if cwd is None else Path(cwd).absolute(),
            env={**os.environ, **self.environment, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        return process


class ShapedNetwork:
    """The network while it stands: `network["near"]` is a node."""

    def __init__(self, network: Any) -> None:
        from testbed.network.names import environment

        self.network = network  # `testbed.network.network.Network`, for what is not offered here
        addresses = network.addresses
        self.nodes: Mapping[str, Node] = {
            name: Node(name, address, environment(name, addresses), network) for name, address in addresses.items()
        }

    @property
    def fabric(self) -> str:
        """`netem`, `relay` or `lab`."""
        return str(self.network.fabric_name)

    @property
    def invalid_reasons(self) -> list[str]:
        """How the links differed from what was asked for when they were last measured; empty where they did not."""
        return list(self.network.invalid_reasons())

    def __getitem__(self, name: str) -> Node:
        if name not in self.nodes:
            raise BadInput(f"shaped_network: no node {name!r}{nearest(name, self.nodes)}")
        return self.nodes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def change(self, a: str, b: str, *, both_ways: bool = True, **effects: Any) -> None:
        """Changes the link from `a` to `b`, and back, at once; packets in flight are kept.

        `effects` are those of a link: `one_way_ms`, `jitter_ms`, `loss`, `rate_bps`, `reorder`, `buffer_bytes`, `up`;
        what is not given stays. Times are milliseconds one way, shares are 0 to 1.
        """
        from testbed.network.spec.fabric import Link

        known = [name for name in Link.__dataclass_fields__ if name not in ("src", "dst")]
        if wrong := next((name for name in effects if name not in known), None):
            raise BadInput(f"shaped_network: a link has no {wrong!r}{nearest(wrong, known)}")
        ends = self[a].name, self[b].name
        ways = (ends, ends[::-1]) if both_ways else (ends,)
        changed = [replace(link, **effects) for link in self.network.links if (link.src, link.dst) in ways]
        if not changed:
            raise BadInput(f"shaped_network: no link {a} -> {b}")
        self.network.change(changed)

    def cut(self, a: str, b: str) -> None:
        """Drops every packet between two nodes until `restore`."""
        self.change(a, b, up=False)

    def restore(self, a: str, b: str) -> None:
        self.change(a, b, up=True)

    def rtt_ms(self, a: str, b: str, count: int = 20) -> float:
        """Median round trip between two nodes as it is now, by the testbed's probes."""
        (found,) = self.network.measure([(self[a].name, self[b].name)], count)
        if found.median_ms is None:
            raise AssertionError(f"no probe of {count} came back over {a} -> {b}")
        return float(found.median_ms)

    @contextmanager
    def capture(self, a: str, b: str, folder: Path) -> Iterator[Path]:
        """Captures what two nodes send each other inside the block, as both see it; gives the pcapng file."""
        from testbed.network.measure.capture import Capture

        ends = self[a].name, self[b].name
        with Capture(self.network.ports, [ends], folder, self.network.hosts.journal):
            yield folder / f"{ends[0]}-{ends[1]}.pcapng"


@contextmanager
def shaped_network(
    topology: str | Path | Links,
    nodes: Mapping[str, str] | None = None,
    *,
    fabric: str | Found = "auto",
    thorough: bool = False,
    wait_s: float = WAIT_S,
) -> Iterator[ShapedNetwork]:
    """A network that stands inside the block.

    `topology`: name or file, as in an experiment, or round-trip times in ms, `{"near": {"far": 40}}`. `nodes`: node to
    region; not given: a node for each region, by its name. `fabric`: "netem", "relay", "lab", or "auto": netem, else
    relay, else lab. `thorough`: measured as before a run, which takes two to three times as long. Raises BadInput, and
    MachineCannot with what this machine lacks.
    """
    from testbed.emulation.bare_network import standing
    from testbed.emulation.lock import Busy, lock_holder

    specification = _topology(topology)
    placement = dict(nodes) if nodes is not None else {region: region for region in specification.region_names}
    found = find_fabric(fabric) if isinstance(fabric, str) else fabric
    deadline = time.monotonic() + wait_s
    with ExitStack() as up:
        while True:
            try:
                network = up.enter_context(standing("kit", specification, placement, found, quick=not thorough))
                break
            except Busy:
                if lock_holder() == os.getpid():
                    raise BadInput("shaped_network: this process has a network already; take it down first") from None
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_S)
        yield ShapedNetwork(network)


def find_fabric(fabric: str = "auto") -> Found:
    """Which fabric to use here, and why; `auto` takes the lab kernel where there is nothing else. May take a second."""
    from testbed.network.capabilities import resolve_fabric
    from testbed.system.userns import namespace_fix, privilege

    if privilege() == "none":
        raise MachineCannot(
            f"shaped_network: network namespaces need root or a user namespace; {namespace_fix()}, or start this "
            "program with: unshare --user --map-root-user"
        )
    if fabric not in ("auto", "netem", "relay", "lab"):
        raise BadInput(f"shaped_network: no fabric {fabric!r}; netem, relay, lab or auto")
    try:
        return resolve_fabric(fabric)  # type: ignore[arg-type]  # checked above
    except MachineCannot as lacking:
        if fabric != "auto":
            raise
        try:
            name, _ = resolve_fabric("lab")
        except MachineCannot:
            raise lacking from None
        return name, f"nothing faster: {lacking}"


def _topology(given: str | Path | Links) -> Any:
    from datetime import date

    from testbed.files.yamlfile import filling
    from testbed.network.spec.topology import Topology, load_topology

    if not isinstance(given, Mapping):
        return load_topology(given)
    regions = dict.fromkeys([*given, *(b for row in given.values() for b in row)])
    content = {
        "name": "given",
        "description": "Round-trip times that a program gave",
        "source": {"citation": "Given by a program", "licence": "Apache-2.0", "kind": "synthetic"},
        "measured_on": date(2026, 1, 1),
        "regions": [{"name": name, "provider": "synthetic"} for name in regions],
        "rtt_ms": {a: dict(row) for a, row in given.items()},
        "symmetric": True,
        "intra_site_rtt_ms": 1.0,
    }
    with filling("shaped_network", Topology):
        return Topology.model_validate(content)
