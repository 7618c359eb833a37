"""What an emulated run needs of this machine, counted before anything is made: descriptors, processes, memory.

Rule kept: a run that cannot fit is refused in one line, with what it needs, what there is and what to do. Counts are
lower bounds, so what is refused would have failed; `python -m testbed.bench soak` shows what a node really holds.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.models.load import local_folder
from testbed.models.lookup import LOOKUP
from testbed.system.userns import privilege

# The engine's own, measured: 10 with an idle network; starting a program, the in-run probe and captures take some more.
ENGINE_DESCRIPTORS = 64
NODE_DESCRIPTORS = 4  # two pseudo-terminals of its shell, two pipes or sockets
SHARED_DESCRIPTORS = 2  # of a node with a shared model worker, while both ends are the engine's
NODE_TASKS = 5  # its shell, three threads of its program, the engine's thread that reads it
WORKER_TASKS = 1
ENGINE_TASKS = 16
NODE_MB = 5.0  # what a node program, a fork of the template, does not share with it as it starts
WORKER_MB = 25.0  # a worker's before its models; 200 more where it needs PyTorch
ENGINE_MB = 150.0
MIB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Needs:
    """`nodes` is for the words alone."""

    nodes: int
    descriptors: int
    tasks: int = 0  # processes and threads
    memory_mb: float = 0.0


@dataclass(frozen=True)
class Room:
    """What is there; None where nothing limits it."""

    descriptors: int | None
    tasks: int | None
    memory_mb: float | None


def of_run(
    models: Mapping[str, Mapping[str, str]],
    served: Iterable[Iterable[str]],
    on_gpus: Collection[str] = (),
    mapped: Collection[str] | None = None,
) -> Needs:
    """By what each node loads, which of them share workers (`emulation.loads`), and whose weights a GPU holds.

    `mapped`: models whose weights are in memory once for all workers (`testbed.models.packs`); None: perhaps all are.
    """
    groups = [list(group) for group in served]
    sharing = {name for group in groups for name in group}
    alone = [name for name, loaded in models.items() if loaded and name not in sharing]
    workers = [*alone, *(group[0] for group in groups)]  # by a node that each serves
    loaded = [name for worker in workers if worker not in on_gpus for name in models[worker].values()]
    weights_mb = {name: _weights_mb(name) for name in set(loaded)}
    if mapped is None:
        loaded = [*weights_mb]
    else:
        loaded = [*(name for name in loaded if name not in mapped), *(name for name in weights_mb if name in mapped)]
    nodes = len(models)
    return Needs(
        nodes,
        ENGINE_DESCRIPTORS + NODE_DESCRIPTORS * nodes + SHARED_DESCRIPTORS * len(sharing),
        ENGINE_TASKS + NODE_TASKS * nodes + WORKER_TASKS * len(workers),
        ENGINE_MB + NODE_MB * nodes + WORKER_MB * len(workers) + sum(weights_mb[name] for name in loaded),
    )


def of_network(nodes: int) -> Needs:
    """Of a network by itself, without programs."""
    return Needs(nodes, ENGINE_DESCRIPTORS + NODE_DESCRIPTORS * nodes)


def secure(needs: Needs, room: Room | None = None) -> None:
    """Raises MachineCannot when the run does not fit; lifts this process's own limit of descriptors where it is low."""
    room = room or here()
    if room.descriptors is not None and needs.descriptors > room.descriptors:
        raise MachineCannot(
            f"place: {needs.nodes} nodes need {needs.descriptors} open files, the limit is {room.descriptors}; raise "
            f"it (ulimit -Hn {needs.descriptors}, as root), or place fewer nodes"
        )
    if room.tasks is not None and needs.tasks > room.tasks:
        raise MachineCannot(
            f"place: {needs.nodes} nodes need {needs.tasks} processes and threads, only {room.tasks} more are "
            "allowed; raise the limit (ulimit -u, pids.max of the cgroup), or place fewer nodes"
        )
    if room.memory_mb is not None and needs.memory_mb > room.memory_mb:
        raise MachineCannot(
            f"place: {needs.nodes} nodes with their models need at least {needs.memory_mb / 1024:.1f} GB of memory, "
            f"{room.memory_mb / 1024:.1f} GB are free; place fewer nodes, or use a larger machine or smaller models"
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needs.descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needs.descriptors, hard))


def here() -> Room:
    """Of this process, now."""
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Room(
        None if descriptors == resource.RLIM_INFINITY else descriptors,
        min(_tasks_left(), default=None),
        min(_memory_mb(), default=None),
    )


def _tasks_left() -> Iterator[int]:
    # setrlimit(2): not enforced for root of the machine. The soft limit is what counts: nothing here lifts it
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit != resource.RLIM_INFINITY and privilege() not in ("root", "container"):
        yield limit - _tasks_of(os.getuid())
    for group in _groups("pids"):
        limited, used = _number(group / "pids.max"), _number(group / "pids.current")
        if limited is not None and used is not None:
            yield limited - used


def _memory_mb() -> Iterator[float]:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) / 1024
    for group in _groups("memory"):
        for limit, usage, idle in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limited, used = _number(group / limit), _number(group / usage)
            if limited is not None and used is not None:
                fields = dict(line.split()[:2] for line in _lines(group / "memory.stat"))
                yield (limited - used + int(fields.get(idle, 0))) / MIB


def _groups(controller: str) -> Iterator[Path]:
    """This process's control group of a controller and those above it, as far as they can be seen: cgroups(7)."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = CGROUPS / controller
        elif not controllers:
            root = CGROUPS
        else:
            continue
        group = root / path.strip("/")
        yield group
        while group != root:
            group = group.parent
            yield group


def _tasks_of(uid: int) -> int:
    """Threads of all processes of a user."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = dict(line.split(":", 1) for line in _lines(Path(entry.path) / "status") if ":" in line)
            if fields and int(fields["Uid"].split()[0]) == uid:
                count += int(fields["Threads"])
    return count


def _weights_mb(model: str) -> float:
    """Of a model's files: what is loaded is no smaller."""
    if model == LOOKUP:
        return 0.0
    return sum(file.stat().st_size for file in local_folder(model).glob("*.safetensors")) / MIB


def _number(path: Path) -> int | None:
    """None where the file is not there, or says `max`."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
