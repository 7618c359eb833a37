"""Processor time and memory of a run's processes, and how long they wait for a core, as /proc has them: proc(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KB_PER_MB = 1024
ENOUGH_S = 0.1  # of processor time, some dozens of turns, from which on their waiting says something


class Turns(NamedTuple):
    """Of one thread so far: seconds that it has run, and that it was ready to and waited for a core."""

    ran_s: float
    waited_s: float


def turns(proc: Path = PROC) -> Turns | None:
    """Of the thread that asks; None where the kernel does not count (CONFIG_SCHED_INFO)."""
    fields = _text(proc / "thread-self" / "schedstat").split()
    return Turns(int(fields[0]) / 1e9, int(fields[1]) / 1e9) if len(fields) >= 2 else None


def slowed(first: Turns | None, last: Turns | None) -> float | None:
    """How much longer what the thread computed took than on a free core; None where it computed too little to tell."""
    if first is None or last is None or last.ran_s - first.ran_s < ENOUGH_S:
        return None
    return 1 + (last.waited_s - first.waited_s) / (last.ran_s - first.ran_s)


class Ticks(NamedTuple):
    """At one moment: of the run's processes by id, and of all cores together while they did something."""

    at_s: float
    of_run: dict[int, int]
    busy: int


def ticks(roots: Iterable[int], proc: Path = PROC) -> Ticks:
    """Of the processes `roots` and their descendants."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit() and (text := _text(entry / "stat")):
            fields = text.rpartition(")")[2].split()  # the name before it may hold anything
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = int(fields[11]) + int(fields[12])
    ours = _family(roots, parents)
    total = [int(field) for field in _text(proc / "stat").partition("\n")[0].split()[1:9]]
    idle = total[3] + total[4] if total else 0
    return Ticks(time.monotonic(), {pid: used[pid] for pid in ours if pid in used}, sum(total) - idle)


def cores_between(first: Ticks, last: Ticks) -> tuple[float, float]:
    """Cores kept busy by the run's processes, and by all others and the hypervisor."""
    seconds = max(1e-9, last.at_s - first.at_s) * TICKS_PER_S
    ours = sum(used - first.of_run.get(pid, 0) for pid, used in last.of_run.items())
    return ours / seconds, max(0.0, last.busy - first.busy - ours) / seconds


def memory_mb(pids: Iterable[int], proc: Path = PROC) -> float | None:
    """Resident memory, of which each page that several share is divided among them; None where none may be read."""
    found = [mb for pid in pids if (mb := _share_mb(proc / str(pid) / "smaps_rollup")) is not None]
    return sum(found) if found else None


def _share_mb(path: Path) -> float | None:
    for line in _text(path).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / KB_PER_MB
    return None


def _family(roots: Iterable[int], parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def _text(path: Path) -> str:
    """Empty where the process has ended meanwhile, or is not for us to look at."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
