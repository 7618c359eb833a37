"""What a run's processes hold, as proc(5) tells it: memory, open descriptors, threads, CPU time. Reads only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Held:
    """One process at one moment."""

    at_s: float
    rss_kb: int
    pss_kb: int
    anonymous_kb: (
        int  # heap and stacks, swapped or not: the rest of the memory is files, which the kernel drops at will
    )
    descriptors: int
    threads: int
    cpu_s: float


def descendants(root: int) -> Iterator[int]:
    """`root` and every process below it."""
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    line = [root]
    while line:
        pid = line.pop()
        yield pid
        line += children.get(pid, [])


def held(pid: int, at_s: float) -> Held | None:
    """None for a process that has ended."""
    try:
        memory = _fields(PROC / f"{pid}/smaps_rollup")
        stat = _stat(pid)
        return Held(
            at_s,
            memory["Rss"],
            memory["Pss"],
            memory["Anonymous"] + memory["Swap"],
            sum(1 for _ in os.scandir(PROC / f"{pid}/fd")),
            int(stat[17]),
            (int(stat[11]) + int(stat[12])) / TICKS_PER_S,
        )
    except (OSError, KeyError, IndexError):
        return None


def name_of(pid: int) -> str | None:
    """What it is in a run: the module it runs and the node it serves; None for one that has ended."""
    words = _command(pid)
    if not words:
        return None
    if "-m" not in words[:-1]:
        return Path(words[0]).name
    at = words.index("-m") + 1
    module, rest = words[at], words[at + 1 :]
    if module == "testbed.system.processes":  # ends with its parent: `ending_with_this`
        module, rest = rest[1], rest[2:]
    folder, _, last = module.removeprefix("testbed.").rpartition(".")
    match last:
        case "piped" if rest:
            return Path(rest[0]).stem
        case "worker":
            parent = _parent(pid)
            return f"worker of {name_of(parent) if parent is not None else '?'}"
        case "testbed":
            return "engine"
        case "process":  # of a fabric, which its folder is named after
            return folder.rpartition(".")[2]
        case other:
            return other.removesuffix("_process")


def _pids() -> list[int]:
    return [int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit()]


def _parent(pid: int) -> int | None:
    try:
        return int(_stat(pid)[1])
    except (OSError, IndexError):
        return None


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on: the second, a name, may hold anything."""
    return (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()


def _command(pid: int) -> list[str]:
    try:
        return [word.decode(errors="replace") for word in (PROC / f"{pid}/cmdline").read_bytes().split(b"\0") if word]
    except OSError:
        return []


def _fields(path: Path) -> dict[str, int]:
    """A file of `Name:  number kB` lines."""
    lines = (line.split() for line in path.read_text().splitlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2}
