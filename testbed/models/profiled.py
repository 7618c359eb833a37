"""Batched passes worth timing before a server serves: seeded configurations, and what a device profile says they take.

WISP (arXiv 2601.11652) fits its estimate to 123 of 173 such configurations and tests it on the other 50; which they
were is not known, so these are ours: verification batches of up to 48 requests, and prompts in parts among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from random import Random

from testbed.models.devices import DeviceProfile
from testbed.models.timing import Feed

CONFIGURATIONS = 173
TRAIN = 123
MOST_REQUESTS = 48
MOST_DRAFTS = 16
PROMPT_PART = 128
PROMPT_SHARE = 0.05  # of the requests in a batch that feed a part of a prompt
MOST_CACHED = 2048

Row = tuple[int, int, int, float]  # Σ new, Σ new·(new + cached), Σ cached, milliseconds


def configurations(
    count: int,
    seed: int,
    most_tokens: int,
    kv_capacity: int | None = None,
    most_cached: int = MOST_CACHED,
) -> list[tuple[Feed, ...]]:
    """Batches of all sizes alike, within what a pass and the memory hold."""
    random = Random(f"profiled passes {seed}")
    found: list[tuple[Feed, ...]] = []
    while len(found) < count:
        longest = random.randint(0, MOST_DRAFTS)  # of this batch's drafts: short and long batches alike
        feeds = [
            Feed(
                PROMPT_PART if random.random() < PROMPT_SHARE else 1 + random.randint(0, longest),
                random.randint(0, most_cached),
            )
            for _ in range(random.randint(1, MOST_REQUESTS))
        ]
        held = sum(one.new + one.cached for one in feeds)
        if sum(one.new for one in feeds) <= most_tokens and (kv_capacity is None or held <= kv_capacity):
            found.append(tuple(feeds))
    return found


def row(feeds: Iterable[Feed], ms: float) -> Row:
    """A timed batch in the terms of the regression."""
    feeds = list(feeds)
    attended = sum(one.new * (one.new + one.cached) for one in feeds)
    return sum(one.new for one in feeds), attended, sum(one.cached for one in feeds), ms


@cache
def profiled_passes(profile: DeviceProfile, count: int = TRAIN, seed: int = 0) -> tuple[Row, ...]:
    """What a server that profiles such a device before it serves would know."""
    return rows_of(profile, configurations(count, seed, profile.max_pass_tokens, profile.kv_capacity_tokens))


def rows_of(profile: DeviceProfile, batches: Sequence[tuple[Feed, ...]]) -> tuple[Row, ...]:
    return tuple(row(feeds, profile.batch_ms(feeds)) for feeds in batches)
