"""How well WISP's four-term estimate fits: to a device profile's curve, or to real passes of a model here."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from testbed.errors import BadInput
from testbed.models.devices import load_profile
from testbed.models.profiled import CONFIGURATIONS, TRAIN, configurations, row, rows_of
from testbed.policies.wisp.estimator import TimedPass, accuracy, fit, timed

THIS_MACHINE = "this-machine"
REPETITIONS = 3  # of each real pass; the median counts
MOST_CACHED_HERE = 160  # tokens of a request, on a machine without a GPU


@dataclass(frozen=True)
class Fitted:
    """Coefficients in milliseconds, and what they reach on the configurations that were not fitted."""

    new_ms: float
    attended_ms: float
    cached_ms: float
    pass_ms: float
    margin_ms: float
    r2: float
    mae_ms: float
    mape: float
    train: int
    test: int


def estimate_profile(device: str, seed: int = 0) -> Fitted:
    """On a profile's own times: what of its staircase four terms can follow."""
    profile = load_profile(device)
    if profile.native:
        raise BadInput(f"device profile {device!r} has no times; name another, or {THIS_MACHINE!r} for real passes")
    batches = configurations(CONFIGURATIONS, seed, profile.max_pass_tokens, profile.kv_capacity_tokens)
    return _fitted(timed(rows_of(profile, batches)))


def estimate_machine(model: str, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> Fitted:
    """On real batched passes of a model, each timed three times. Takes minutes."""
    from testbed.models.batch import BatchRuntime
    from testbed.models.feeds import BatchFeed
    from testbed.models.limits import room_of, rows_of
    from testbed.models.load import load_model

    loaded = load_model(model, threads=1)
    room, vocabulary = room_of(loaded.model.config) or 2 * MOST_CACHED_HERE, rows_of(loaded.model.config) or 1
    random = Random(f"tokens {seed}")
    rows = []
    batches = configurations(CONFIGURATIONS, seed, room * 8, most_cached=min(MOST_CACHED_HERE, room // 2))
    for number, feeds in enumerate(batches, start=1):
        runtime = BatchRuntime(loaded.model)
        tokens = [[random.randrange(vocabulary) for _ in range(one.cached + one.new)] for one in feeds]
        cached = [
            BatchFeed(request, 0, tuple(text[: one.cached]), 0)
            for request, (one, text) in enumerate(zip(feeds, tokens, strict=True))
            if one.cached
        ]
        if cached:
            runtime.forward_batch(cached)
        work = [
            BatchFeed(request, one.cached, tuple(text[one.cached :]), one.new)
            for request, (one, text) in enumerate(zip(feeds, tokens, strict=True))
        ]
        took = []
        for _ in range(REPETITIONS):
            begin = time.perf_counter()
            runtime.forward_batch(work)
            took.append((time.perf_counter() - begin) * 1e3)
        rows.append(row(feeds, statistics.median(took)))
        if number % 20 == 0:
            progress(f"pass {number} of {len(batches)}")
    return _fitted(timed(rows))


def _fitted(passes: list[TimedPass]) -> Fitted:
    model = fit(passes[:TRAIN])
    reached = accuracy(model, passes[TRAIN:])
    return Fitted(*model, *reached, train=TRAIN, test=len(passes) - TRAIN)
