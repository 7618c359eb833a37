"""`python -m testbed.bench passes`: real passes of the shipped pair by the lean path and by transformers, in turns.

Processor time of the one thread that computes, which on a quiet machine is the time a pass takes. Values are medians,
spreads from the least to the ninetieth percentile, ratios of medians. What else the machine does to caches and memory
meets both alike, but is in the values: on a busy machine look at the least.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.bench.measurement import Measurement, readable
from testbed.models.compute import Compute
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.load import load_model
from testbed.models.passes import LEAN, TRANSFORMERS, passes_of
from testbed.policies.api import Draft, Verify

MODELS = ("tiny-draft", "tiny-target")
TEXT = 100  # tokens held before a pass
WARM_UP = 3
TRIALS = 60
FED = (1, 4, 8)
BATCHES = (4, 8, 16)
BATCH_FED = 5
PREFILL = 64
TREE = ((7, 8, 9, 10, 11, 12, 13, 14), (-1, -1, 0, 0, 1, 2, 2, 4))
OTHER = 99  # a request that holds nothing
WORDS = range(1, 2000)


def passes_figures() -> list[Measurement]:
    return [figure for model in MODELS for figure in _of_model(model)]


def _of_model(name: str) -> list[Measurement]:
    model = load_model(name, threads=1).model
    work = {path: _work(name, passes_of(model, path).runtime()) for path in (LEAN, TRANSFORMERS)}
    return [_in_turns(f"{name}, {kind}", {path: work[path][kind] for path in work}) for kind in work[LEAN]]


def _work(name: str, runtime: Any) -> Mapping[str, Callable[[], object]]:
    text = [WORDS[(7 * index) % len(WORDS)] for index in range(TEXT)]
    for request in range(max(BATCHES)):
        runtime.forward(request, 0, text)
    work: dict[str, Callable[[], object]] = {
        f"{fed} token(s)": lambda fed=fed: runtime.forward(0, TEXT, text[:fed], fed)  # type: ignore[misc]
        for fed in FED
    }
    nodes, parents = TREE
    work["tree of 8"] = lambda: runtime.forward_tree(TreeFeed(0, TEXT, text[:1], nodes, parents, range(-1, len(nodes))))
    for users in BATCHES:
        feeds = [BatchFeed(request, TEXT, text[:BATCH_FED], BATCH_FED) for request in range(users)]
        work[f"batch of {users} x {BATCH_FED}"] = lambda feeds=feeds: runtime.forward_batch(feeds)  # type: ignore[misc]
    work[f"prefill of {PREFILL}"] = lambda: runtime.forward(OTHER, 0, text[:PREFILL])
    role = "draft" if "draft" in name else "target"
    compute = Compute({role: runtime}, {role: lambda tokens: [tokens]})
    if role == "draft":
        job = Draft(0, 0, TEXT, (text[0],))
        work["one draft as a worker does it"] = lambda: compute.draft(job)
    else:
        verify = Verify(0, 0, TEXT, tuple(text[:3]), 2)
        work["two drafts verified as a worker does it"] = lambda: compute.verify(verify)
    return work


def _in_turns(name: str, ways: Mapping[str, Callable[[], object]]) -> Measurement:
    times: dict[str, list[float]] = {path: [] for path in ways}
    for trial in range(WARM_UP + TRIALS):
        for path, way in ways.items():
            start = time.thread_time_ns()
            way()
            if trial >= WARM_UP:
                times[path].append((time.thread_time_ns() - start) / 1e6)
    lean, other = statistics.median(times[LEAN]), statistics.median(times[TRANSFORMERS])
    low, high = (readable(end) for end in _spread(times[TRANSFORMERS]))
    compared = f"transformers {readable(other)} [{low}, {high}], {readable(other / lean)} times as long"
    return Measurement(name, lean, "ms", *_spread(times[LEAN]), compared)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[0], ordered[-(len(ordered) // 10) - 1]
