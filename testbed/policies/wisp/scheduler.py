"""Which of the waiting verifications go into the next target pass: WISP's SLO-aware batches (arXiv 2601.11652).

First those that would miss their deadline if they waited for another pass, earliest deadline first; then the rest by
value density, expected tokens for each millisecond of the target. One is added if memory and pass hold it, and if the
pass as it then is would end, by the estimate and its margin, before the earliest deadline in it.

Ours, because the paper does not say: what can no longer be in time even alone is *late*; it comes last, and its own
deadline does not count, else one late request would block all others. A request that has waited for `patience_ms` comes
first, so that none waits for ever, and while it does not fit into memory no request takes new memory. "If they waited
for another pass" is judged with a pass over the whole queue.

A pure function of the queue: knows no clock and no requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed.policies.wisp.estimator import Load, PassTime, load_of

NEVER = math.inf
AT_ONCE = -math.inf
SHORTEST_MS = 1e-3  # no pass is shorter, whatever a regression says of it


class Waiting(NamedTuple):
    """One request in the queue."""

    request: int
    since_ms: float
    new: int  # tokens it would feed
    cached: int
    expected: float  # tokens it is expected to emit
    deadline_ms: float = NEVER
    memory: int = 0  # tokens of key-value memory it takes over and above what it has

    @property
    def load(self) -> Load:
        return load_of(self.new, self.cached)


@dataclass(frozen=True)
class Room:
    """What the next pass may take. None: not bounded."""

    memory: int | None = None  # tokens
    tokens: int | None = None  # fed in one pass
    requests: int | None = None


@dataclass(frozen=True)
class Parts:
    """Which parts of the scheduler are on. With all off it is first come, first served: WISP's ablation.

    `by_deadline` takes the place of them all.
    """

    urgent: bool = True
    density: bool = True
    deadline_check: bool = True
    by_deadline: bool = False  # past the paper: that and nothing else, whether it can still be met or not

    @property
    def fcfs(self) -> bool:
        return not (self.urgent or self.density or self.deadline_check)


# A request, whether its deadline binds the pass, and whether it waited too long.
Claim = tuple[Waiting, bool, bool]


def next_batch(
    queue: Sequence[Waiting],
    now: float,
    time: PassTime,
    room: Room,
    patience_ms: float = NEVER,
    parts: Parts = Parts(),
    ahead_ms: float = NEVER,
    bucket: float | None = None,
) -> list[Waiting]:
    """Members of the next pass, in the order they were taken. Empty only if nothing fits into memory.

    Who has more than `ahead_ms` to spare is left out while others are in the pass, which is the shorter for them. With
    `bucket`, so is who feeds another number of tokens, rounded up to a power of it, than the first who was taken.
    """
    batch = _Batch(now, time, room, parts.deadline_check)
    claims = _ordered(queue, now, time, patience_ms, parts)
    if ahead_ms < NEVER:
        # stable: those who are ahead keep their order, after all others
        claims.sort(key=lambda claim: _is_ahead(claim, now, ahead_ms))
    for claim in claims:
        one, bound, aged = claim
        if batch.members and _is_ahead(claim, now, ahead_ms):
            break
        if bucket is not None and batch.members and not _alike(one, batch.members[0], bucket):
            continue
        fitted = batch.try_add(one, bound)
        if aged and not fitted and not batch.fits_memory(one):
            batch.close_memory()
    return batch.members


def is_late(one: Waiting, now: float, time: PassTime) -> bool:
    """Whether even its own pass would end after its deadline."""
    return _misses(one, now, time, time.predict_ms(one.load))


def _misses(one: Waiting, now: float, time: PassTime, takes_ms: float) -> bool:
    return now + takes_ms + time.margin_ms > one.deadline_ms


def _alike(one: Waiting, first: Waiting, bucket: float) -> bool:
    return _power(one.new, bucket) == _power(first.new, bucket)


def _power(tokens: int, base: float) -> int:
    """The least whole power of `base` that so many tokens are not more than."""
    power, most = 0, 1.0
    while most < tokens:
        power, most = power + 1, most * base
    return power


def _is_ahead(claim: Claim, now: float, ahead_ms: float) -> bool:
    one, _, aged = claim
    return not aged and ahead_ms < one.deadline_ms - now < NEVER


def _ordered(queue: Sequence[Waiting], now: float, time: PassTime, patience_ms: float, parts: Parts) -> list[Claim]:
    """The queue in the order of its claims."""
    by_arrival = sorted(queue, key=lambda one: (one.since_ms, one.request))
    if parts.by_deadline:
        waited = [(one, False, now - one.since_ms >= patience_ms) for one in by_arrival]
        return sorted(waited, key=lambda claim: AT_ONCE if claim[2] else claim[0].deadline_ms)
    if parts.fcfs:
        return [(one, False, False) for one in by_arrival]
    loads = [one.load for one in by_arrival]
    everyone = Load(
        sum([one.new for one in loads]), sum([one.attended for one in loads]), sum([one.cached for one in loads])
    )
    another_ms = time.predict_ms(everyone)
    aged, urgent, rest, late = [], [], [], []
    for one, load in zip(by_arrival, loads, strict=True):
        alone_ms = time.predict_ms(load)
        in_time = not _misses(one, now, time, alone_ms)
        slack_ms = one.deadline_ms - now - alone_ms - time.margin_ms
        if now - one.since_ms >= patience_ms:
            aged.append((one, in_time, True))
        elif not in_time:
            late.append((one, False, False))
        elif parts.urgent and slack_ms < another_ms:
            urgent.append((one, True, False))
        else:
            rest.append((one, True, False))
    urgent.sort(key=lambda claim: claim[0].deadline_ms)  # stable: arrival decides between equals
    if parts.density:
        rest.sort(key=lambda claim: -claim[0].expected / max(SHORTEST_MS, time.predict_ms(claim[0].load)))
    return [*aged, *urgent, *rest, *late]


class _Batch:
    """The pass as it grows."""

    def __init__(self, now: float, time: PassTime, room: Room, deadline_check: bool) -> None:
        self.members: list[Waiting] = []
        self._now = now
        self._time = time
        self._check = deadline_check
        self._load = Load()
        self._earliest = NEVER
        self._memory = NEVER if room.memory is None else room.memory
        self._memory_open = True
        self._tokens = NEVER if room.tokens is None else room.tokens
        self._requests = NEVER if room.requests is None else room.requests

    def try_add(self, one: Waiting, bound: bool) -> bool:
        if not self.fits_memory(one) or len(self.members) >= self._requests:
            return False
        load = self._load.plus(one.load)
        if load.new > self._tokens:
            return False
        earliest = min(self._earliest, one.deadline_ms) if bound else self._earliest
        if self._check and self._now + self._time.predict_ms(load) + self._time.margin_ms > earliest:
            return False
        self.members.append(one)
        self._load, self._earliest = load, earliest
        self._memory -= one.memory
        return True

    def fits_memory(self, one: Waiting) -> bool:
        return one.memory == 0 or (self._memory_open and one.memory <= self._memory)

    def close_memory(self) -> None:
        """No request takes new memory in this pass any more."""
        self._memory_open = False
