"""Where the wall time of an emulated run goes: its stages, one after another, in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

INPUTS, NETWORK, NODES, PLAN, REQUESTS, LINKS, CHECK, REPORT = STAGES = (
    "inputs", "network", "nodes", "plan", "requests", "links", "check", "report",
)  # fmt: skip


class Stages:
    """One stage goes on until the next begins; one that comes back adds to itself. The first is `inputs`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now, self._since = INPUTS, clock()
        self._seconds: dict[str, float] = {}

    def begin(self, stage: str) -> None:
        now = self._clock()
        self._seconds[self._now] = self._seconds.get(self._now, 0.0) + now - self._since
        self._now, self._since = stage, now

    def seconds(self) -> dict[str, float]:
        """By stage, in order, up to now."""
        self.begin(self._now)
        return {stage: round(self._seconds[stage], 2) for stage in STAGES if stage in self._seconds}


def said(seconds: dict[str, float]) -> str:
    """A line for people: what the requests took, and what everything beside them."""
    beside = {stage: taken for stage, taken in seconds.items() if stage != REQUESTS}
    listed = ", ".join(f"{stage} {taken:.1f}" for stage, taken in beside.items())
    return f"requests took {seconds.get(REQUESTS, 0.0):.1f} s, the rest {sum(beside.values()):.1f} s ({listed})"
