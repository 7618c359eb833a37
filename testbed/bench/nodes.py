"""`python -m testbed.bench nodes`: what nodes of the shipped pair cost, by the lean path and by transformers, in turns.

Programs are started one after the other, each by itself as in a container, without a network, and stay until all are
measured. Those of a run in processes are forks of a template instead (`testbed.system.template`).
Seconds are until a node says that it is ready. Memory is that of a node's program and its model worker: PSS
(proc(5)) shares what several processes map among them, so its sum over nodes is what they take of the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from testbed.bench.measurement import Measurement, of_values, readable
from testbed.bench.processes import descendants, held
from testbed.errors import RunInvalid
from testbed.models.fit import Fitness
from testbed.models.fitness import require_fit
from testbed.models.limits import Text
from testbed.models.passes import LEAN, TRANSFORMERS
from testbed.nodes.control import ControlReply, Failed, NodeConfig, Quit, Ready, line
from testbed.system import environment

PAIR = {"target": "tiny-target", "draft": "tiny-draft"}
DEVICES = {"target": "l40s/llama-3.1-8b", "draft": "l40s/llama-3.2-1b"}
KINDS: Mapping[str, Sequence[str]] = {"drafting node": ("draft",), "target's node": ("target", "draft")}
NODES = 4  # of each kind at once
TEXT = Text("any", (5, 6, 7), 64)


@dataclass(frozen=True)
class _Cost:
    ready_s: list[float]
    rss_mb: list[float]
    pss_mb: list[float]


def nodes_figures() -> list[Measurement]:
    fitness = require_fit(PAIR, {}, [TEXT])
    return [one for kind, roles in KINDS.items() for one in _of_kind(kind, roles, fitness)]


def _of_kind(kind: str, roles: Sequence[str], fitness: Fitness) -> Iterator[Measurement]:
    lean, other = (_cost(roles, fitness, passes) for passes in (LEAN, TRANSFORMERS))
    for what, unit, ours, theirs in (
        ("until ready", "s", lean.ready_s, other.ready_s),
        ("resident memory", "MB", lean.rss_mb, other.rss_mb),
        (f"share of memory, {NODES} nodes", "MB", lean.pss_mb, other.pss_mb),
    ):
        beside = of_values("", unit, theirs, "")
        compared = f"transformers {readable(beside.value)} [{readable(beside.low)}, {readable(beside.high)}]"
        yield of_values(f"{kind}, {what}", unit, ours, compared)


def _cost(roles: Sequence[str], fitness: Fitness, passes: str) -> _Cost:
    models = {role: PAIR[role] for role in roles}
    devices = {role: DEVICES[role] for role in roles}
    with tempfile.TemporaryDirectory(prefix="wan-testbed-nodes.") as folder, _ended() as programs:
        ready_s = []
        for number in range(NODES):
            config = NodeConfig(f"node{number}", "here", "127.0.0.1", models, devices, passes=passes, fitness=fitness)
            path = Path(folder) / f"node{number}.json"
            path.write_bytes(msgspec.json.encode(config))
            begin = time.perf_counter()
            programs.append(_started(path))
            _await_ready(programs[-1])
            ready_s.append(time.perf_counter() - begin)
        sizes = [[one for pid in descendants(program.pid) if (one := held(pid, 0)) is not None] for program in programs]
        return _Cost(
            ready_s,
            [sum(one.rss_kb for one in size) / 1024 for size in sizes],
            [sum(one.pss_kb for one in size) / 1024 for size in sizes],
        )


def _started(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "testbed.nodes.piped", config],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment.of_nodes(os.environ),
    )


def _await_ready(program: subprocess.Popen[bytes]) -> None:
    assert program.stdout is not None
    decoder = msgspec.json.Decoder(ControlReply)
    for text in program.stdout:
        reply = decoder.decode(text)
        if isinstance(reply, Failed):
            raise RunInvalid(f"bench nodes: {reply.error}")
        if isinstance(reply, Ready):
            return
    raise RunInvalid("bench nodes: a node ended before it was ready")


@contextmanager
def _ended() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Node programs that end with the block."""
    programs: list[subprocess.Popen[bytes]] = []
    try:
        yield programs
    finally:
        for one in programs:
            one.communicate(line(Quit()))
