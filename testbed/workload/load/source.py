"""Finds a load by name or path and gives its requests over a stretch of time, whatever kind it is.

Rule kept: a trace gives back exactly its requests where nothing is scaled; a profile draws them from the seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from random import Random
from typing import Any

from testbed.errors import BadInput
from testbed.files.named import LOAD, find
from testbed.files.reading import read_bytes, shown
from testbed.workload.load.asked import Asked, Trace
from testbed.workload.load.generate import generate
from testbed.workload.load.profile import Profile, read_profile
from testbed.workload.load.read import read_trace
from testbed.workload.load.servegen import is_servegen, read_servegen


@dataclass(frozen=True)
class Load:
    """A profile, or a trace. `sha256` is that of its file, or of its files' contents."""

    name: str
    of: Profile | Trace
    sha256: str

    @property
    def seconds(self) -> float:
        """How long it is. It starts again after that."""
        return self.of.seconds

    @property
    def starts(self) -> str | None:
        return self.of.starts

    def requests(self, seed: int | str, begin_s: float, end_s: float, scale: float = 1.0) -> Iterator[Asked]:
        """From `begin_s` to `end_s` of the load's time, earliest first; `at_s` counts from `begin_s`.

        `scale` times as many: a profile's rate, and of a trace's requests a random part, or copies shifted by equal
        parts of its length.
        """
        if isinstance(self.of, Profile):
            yield from generate(self.of, seed, begin_s, end_s, scale)
        else:
            yield from _replayed(self.of, seed, begin_s, end_s, scale)

    def as_manifest(self) -> dict[str, Any]:
        """What a run says of it."""
        if isinstance(self.of, Profile):
            kind = {"kind": f"profile, {self.of.kind}", "source": self.of.source.model_dump(exclude_none=True)}
        else:
            kind = {"kind": f"trace, {self.of.format}", **self.of.about}
        return {"name": self.name, "sha256": self.sha256, "seconds": self.seconds, **kind}


def load_load(name_or_path: str) -> Load:
    """Raises BadInput with file, every wrong line and what to write."""
    path = find(name_or_path, LOAD)
    if path.is_dir() or is_profile(path):
        return _profile(path)
    trace = read_trace(path)
    if trace.seconds <= 0:
        raise BadInput(f"{shown(path)}: all its requests come at the same time; a load needs two times at least")
    return Load(path.name, trace, trace.sha256)


def is_profile(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") or is_servegen(path)


def _profile(path: Path) -> Load:
    if path.suffix in (".yaml", ".yml"):
        profile = read_profile(path)
        return Load(path.stem, profile, hashlib.sha256(read_bytes(path)).hexdigest())
    if not is_servegen(path):
        raise BadInput(f"{shown(path)}: is a folder without ServeGen's files, chunk-0-trace.csv, ...; name one file")
    profile = read_servegen(path)
    return Load(path.name, profile, hashlib.sha256(profile.model_dump_json().encode()).hexdigest())


def _replayed(trace: Trace, seed: int | str, begin_s: float, end_s: float, scale: float) -> Iterator[Asked]:
    """The trace's requests, again from the first after the last; one mean gap lies between."""
    copies = max(1, math.ceil(scale - 1e-9))
    return merge(
        *(
            _copy(trace, seed, begin_s, end_s, copy / copies, min(1.0, scale - copy), copy, copies)
            for copy in range(copies)
        ),
        key=lambda one: one.at_s,
    )


def _copy(
    trace: Trace, seed: int | str, begin_s: float, end_s: float, shift: float, share: float, copy: int, copies: int
) -> Iterator[Asked]:
    """A part of the requests, shifted by a part of the trace's length."""
    period_s = trace.seconds
    random = Random(f"load/{seed}/part/{copy}/{begin_s:g}")
    shift_s = period_s * shift
    turn = math.floor((begin_s - shift_s) / period_s)
    while turn * period_s + shift_s < end_s:
        for one in trace.requests:
            at_s = turn * period_s + shift_s + one.at_s
            if begin_s <= at_s < end_s and (share >= 1 or random.random() < share):
                session = one.session and f"{one.session}/{turn}/{copy}"
                # what is sent again, or in another copy, is another conversation
                apart = len(trace.requests) * ((turn + 1) * copies + copy) if one.text else 0
                text = tuple((number + apart, tokens) for number, tokens in one.text)
                yield one._replace(at_s=at_s - begin_s, session=session, text=text)
        turn += 1
