"""Which workers are alive: ours, beyond the paper, whose controller waits for its worker for ever.

A worker that is waited for owes a draft: it heard of the last verdict, and streams at least k drafts beyond it. One
that has said nothing for `silence_ms` since then, and for no less than `ROUND_TRIPS`, is silent: the controller drafts
for its requests, as with a worker that is stale for good, and new ones go to workers that speak. It hears of verdicts
all the same, so one that was cut off comes back into use with the first draft that arrives.

Rule kept: what counts is drafts, not pings, since a node may answer those whose model hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from testbed.policies.api import SetTimer

ROUND_TRIPS = 4.0
RETRY = 8  # of so many requests in turn for a silent worker one is opened there, so that it can speak again
ROUNDING_MS = 1e-6  # a timer rings at its nanosecond, which may lie before the float it was set to


class Presence:
    """`silence_ms` None: every worker is waited for, as in the listing. `rtt_ms`: R of a worker."""

    def __init__(self, silence_ms: float | None, workers: Sequence[str], rtt_ms: Callable[[str], float | None]) -> None:
        self._silence_ms = silence_ms
        self._rtt_ms = rtt_ms
        self._workers = workers
        self._heard: dict[str, float] = {}
        self._silent: dict[str, int] = {}  # requests that would have been its own since it fell silent

    def choose(self, rule: Callable[[Sequence[str]], str]) -> str:
        """The worker of a new request: by `rule`, which takes one of several, among those that speak."""
        worker = rule(self._workers)
        if worker not in self._silent:
            return worker
        self._silent[worker] += 1
        speaking = self.speaking()
        return worker if not speaking or self._silent[worker] % RETRY == 0 else rule(speaking)

    def speaking(self) -> list[str]:
        return [worker for worker in self._workers if worker not in self._silent]

    def heard(self, worker: str, now: float) -> None:
        """A draft of this worker's arrived."""
        if self._silence_ms is not None:
            self._heard[worker] = now
            self._silent.pop(worker, None)

    def is_silent(self, worker: str, told: float, now: float) -> bool:
        """Asked while a draft is waited for; `told` is when this request's worker was last told something."""
        if self._silence_ms is None or worker in self._silent:
            return worker in self._silent
        if now < self._until(worker, told) - ROUNDING_MS:
            return False
        self._silent[worker] = 0
        return True

    def alarm(self, request: int, worker: str, told: float) -> list[SetTimer]:
        """When to ask again if nothing is heard before."""
        if self._silence_ms is None:
            return []
        return [SetTimer(f"silence {request}", self._until(worker, told))]

    def _until(self, worker: str, told: float) -> float:
        assert self._silence_ms is not None
        least_ms = max(self._silence_ms, ROUND_TRIPS * (self._rtt_ms(worker) or 0.0))
        return max(self._heard.get(worker, told), told) + least_ms
