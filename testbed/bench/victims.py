"""The processes of one run, by what they are: for trials that kill one of them. Linux only: reads /proc.

A container is its first process, known as the run's by the mark in its environment; the container engine, which is no
part of a run, is the testbed's own or none.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from testbed.containers import daemon
from testbed.system.journal import JOURNAL_NAME, read_entries, state_dir
from testbed.system.makers import start_time
from testbed.system.undoing import MARK

Kind = Literal["engine", "template", "node", "worker", "fabric", "probe", "container", "daemon"]
OF_PROCESSES: tuple[Kind, ...] = ("engine", "template", "node", "worker", "fabric", "probe")
OF_CONTAINERS: tuple[Kind, ...] = ("container", "daemon")  # of a run with --nodes docker
KINDS = OF_PROCESSES + OF_CONTAINERS

# command lines; a guest kernel is a tree of processes, of which the first one's end is the guest's
COMMANDS: dict[Kind, re.Pattern[str]] = {
    "template": re.compile(r"testbed\.system\.template "),
    "node": re.compile(r"testbed\.nodes\.piped \S*?(?P<name>[\w-]+)\.json"),
    "worker": re.compile(r"testbed\.nodes\.worker "),
    "fabric": re.compile(r"testbed\.network\.relay\.process|^linux\.uml "),
    "probe": re.compile(r"testbed\.network\.measure\.(probe|watch)_process"),
}


@dataclass(frozen=True)
class Process:
    """By number and start time; `name` is the node's, where it belongs to one."""

    pid: int
    start: int | None
    parent: int
    command: str
    name: str = ""


def family(engine: int) -> list[Process]:
    """Everything that descends from the engine, itself left out, parents first."""
    processes = [one for path in Path("/proc").glob("[0-9]*") if (one := _read(int(path.name))) is not None]
    children: dict[int, list[Process]] = {}
    for one in processes:
        children.setdefault(one.parent, []).append(one)
    found, left = [], list(children.get(engine, []))
    while left:
        one = left.pop(0)
        found.append(one)
        left += children.get(one.pid, [])
    return found


def victims(kind: Kind, engine: int) -> list[Process]:
    """Those of this kind now; a worker is called after its node."""
    if kind == "engine":
        return [Process(engine, start_time(engine), 0, "testbed run")]
    if kind == "daemon":
        pid = daemon.running()
        return [] if pid is None else [Process(pid, start_time(pid), 0, "dockerd")]
    if kind == "container":
        journal = journal_of(engine)
        return [] if journal is None else [one for pid in marked(journal) if (one := _contained(pid)) is not None]
    descended = family(engine)
    nodes = {one.pid: match["name"] for one in descended if (match := COMMANDS["node"].search(one.command))}
    found = [one for one in descended if COMMANDS[kind].search(one.command)]
    if kind == "fabric":
        found = found[:1]  # the first of a guest's processes
    return [
        Process(one.pid, one.start, one.parent, one.command, nodes.get(one.pid) or nodes.get(one.parent, ""))
        for one in found
    ]


def journal_of(engine: int) -> Path | None:
    """The journal that this process holds, or held."""
    for path in state_dir().glob(f"*/{JOURNAL_NAME}"):
        if any(entry.kind == "holder" and entry.name == str(engine) for entry in read_entries(path)):
            return path
    return None


def marked(journal: Path) -> list[int]:
    """Live processes that carry this journal's mark."""
    mark = f"{MARK}={journal}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:
            continue
        pid = int(path.parent.name)
        if mark in environment.split(b"\0") and pid != os.getpid() and start_time(pid) is not None:
            found.append(pid)
    return found


def _contained(pid: int) -> Process | None:
    """The first process of a container; None for any other."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    inside = re.search(r"^NSpid:\s+\d+(?:\s+\d+)*\s+1$", status, re.MULTILINE)
    name = next((one.partition(b"=")[2].decode() for one in environment if one.startswith(b"HOSTNAME=")), "")
    found = _read(pid)
    return None if inside is None or found is None else replace(found, name=name)


def _read(pid: int) -> Process | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), int(fields[1]), command)
