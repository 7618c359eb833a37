"""How node programs and model workers are started: without capabilities; their priorities are given from outside.

One right may have to stay, and is then in the manifest: CAP_DAC_READ_SEARCH, where root runs code or models that lie in
a folder closed to it but for that right, as with sudo in another user's home folder.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from testbed.nodes.priority import put_first, put_second
from testbed.system import rights
from testbed.system.userns import privilege

READABLE = 'for path; do test -r "$path" || { printf %s "$path"; exit 1; }; done'
MOST_FILES = 200  # looked at, of one model's folder


class Confinement:
    """Of one run; `read` are files and folders its programs read, beside the interpreter's."""

    def __init__(self, read: Iterable[Path]) -> None:
        closed = _unreadable([*_of_interpreter(), *(one for path in read for one in _with_files(path))])
        self.kept: dict[str, str] = {}
        if closed is not None and privilege() in ("root", "container"):
            self.kept["dac_read_search"] = f"{closed} is not readable by root without it"

    def command(self, argv: Sequence[str]) -> list[str]:
        return rights.started_without(argv, list(self.kept))

    def facts(self) -> dict[str, str]:
        """Capabilities that the programs keep, and why; empty as a rule."""
        return dict(self.kept)


def precede_compute(programs: Mapping[str, int], shared: Iterable[int]) -> dict[str, str]:
    """Gives node programs, by pid, and their workers their priorities; says what each node program got."""
    for pid in shared:
        put_second(pid)
    for worker in _others_in_groups(set(programs.values())):
        put_second(worker)
    return {node: put_first(pid) for node, pid in programs.items()}


def _others_in_groups(leaders: Collection[int]) -> Iterator[int]:
    """A node leads a process group, and its model worker is in there. One look for all of hundreds of nodes."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            if int(path.name) not in leaders and os.getpgid(int(path.name)) in leaders:
                yield int(path.name)


def _of_interpreter() -> Iterator[Path]:
    yield Path(sys.executable)
    yield Path(__file__)
    yield from (Path(entry) for entry in sys.path if entry and Path(entry).exists())


def _with_files(path: Path) -> list[Path]:
    return [path, *sorted(path.iterdir())[:MOST_FILES]] if path.is_dir() else [path]


def _unreadable(paths: Sequence[Path]) -> str | None:
    """The first of them that a process of this user without capabilities may not read."""
    command = rights.started_without(["sh", "-c", READABLE, "sh", *map(os.fspath, paths)])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return done.stdout or done.stderr.strip()
