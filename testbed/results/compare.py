"""Compares runs: requests paired by policy, prompt and repeat, each metric as ratios with bootstrap intervals.

Rule kept: what has no partner in the other run is counted and left out, never compared with a stranger; intervals
resample prompts, not requests. Undefined is None.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from testbed.errors import BadInput
from testbed.results.heldclock import dilation_of
from testbed.results.metrics import REGISTRY, PolicyLog, policy_logs
from testbed.results.metrics.base import KEY, RatioMetric, SampleMetric, interval_json, rounded
from testbed.results.statistics import median_interval, ratio_of_medians_interval
from testbed.results.store import RunData, RunDirectory, load, using

# Against another policy of the same run, or of the testbed itself: a ratio of them says nothing about two runs.
NOT_COMPARED = {"latency_ratio", "target_site_draft_ratio", "dispatch_delay_ms", "round_overhead_ms"}
PAIR = ["prompt", "repeat"]


def compare_runs(paths: Sequence[Path]) -> dict[str, Any]:
    """The first run against each other one. Raises BadInput where nothing pairs."""
    if len(paths) < 2:
        raise BadInput("compare needs at least two runs: testbed compare RUN RUN ...")
    with using(*paths):
        return _compared(paths)


def _compared(paths: Sequence[Path]) -> dict[str, Any]:
    base, *others = ((path, load(path), RunDirectory(path).read_summary()) for path in paths)
    comparisons = [_comparison(base[1], base[0], run, path) for path, run, _ in others]
    return {
        "base": _about(*base),
        "valid": all(summary["validity"]["valid"] for _, _, summary in (base, *others)),
        "comparisons": [{"run": _about(*other), **one} for other, one in zip(others, comparisons, strict=True)],
    }


def _about(path: Path, run: RunData, summary: Mapping[str, Any]) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "path": str(path),
        **{key: manifest[key] for key in ("run_id", "experiment", "engine", "fabric")},
        "dilation": dilation_of(manifest),
        "validity": summary["validity"],
    }


def _comparison(base: RunData, base_path: Path, other: RunData, path: Path) -> dict[str, Any]:
    ours, theirs = policy_logs(base), policy_logs(other)
    shared = [label for label in ours if label in theirs]
    policies = {}
    for label in shared:
        pairs, unpaired = _pairs(ours[label], theirs[label])
        if pairs:
            metrics = {tag: _figures(ours[label], theirs[label], tag) for tag in REGISTRY if tag not in NOT_COMPARED}
            known = {tag: figures for tag, figures in metrics.items() if figures is not None}
            policies[label] = {"pairs": pairs, "unpaired": unpaired, "metrics": known}
    if not shared:
        raise BadInput(
            f"{base_path} and {path}: no policy in common ({', '.join(ours)} against {', '.join(theirs)}); give the "
            "policies to compare the same label"
        )
    if not policies:
        raise BadInput(
            f"{base_path} and {path}: no prompt and repeat in common, so nothing can be paired; run both on the same "
            "prompts"
        )
    return {
        "policies": policies,
        "only_in_one": sorted({*ours} ^ {*theirs}),
    }


def _pairs(ours: PolicyLog, theirs: PolicyLog) -> tuple[int, int]:
    """How many requests pair, and how many of both runs do not."""
    ours_keys, theirs_keys = _keys(ours), _keys(theirs)
    return len(ours_keys & theirs_keys), len(ours_keys ^ theirs_keys)


def _keys(log: PolicyLog) -> set[tuple[str, int]]:
    repeats = log.requests.index.get_level_values("repeat")
    return set(zip(log.requests["prompt_id"], repeats, strict=True))


def _figures(ours: PolicyLog, theirs: PolicyLog, tag: str) -> dict[str, Any] | None:
    """`ratio_of_medians` and `median_of_ratios` are other / base; None where the metric is undefined in one of them."""
    values = [_by_pair(tag, log) for log in (ours, theirs)]
    if any(one is None for one in values):
        return None
    both = pd.concat(values, axis=1, join="inner", keys=["base", "other"]).dropna()
    if both.empty:
        return None
    base, other = both["base"].to_numpy(float), both["other"].to_numpy(float)
    prompts = list(both.index.get_level_values("prompt"))
    seed = None if ours.seed is None else (ours.seed, zlib.crc32(f"compare/{ours.label}/{tag}".encode()))
    defined = base > 0
    ratios, of = other[defined] / base[defined], [p for p, use in zip(prompts, defined, strict=True) if use]
    medians = float(np.median(base)), float(np.median(other))
    return {
        "base": rounded(medians[0]),
        "other": rounded(medians[1]),
        "ratio_of_medians": _with_interval(
            medians[1] / medians[0] if medians[0] > 0 else None, ratio_of_medians_interval(other, base, prompts, seed)
        ),
        "median_of_ratios": _with_interval(
            float(np.median(ratios)) if len(ratios) else None,
            median_interval(ratios, of, seed) if len(ratios) else None,
        ),
        "n": len(both),
    }


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> dict[str, Any] | None:
    return None if value is None else {"value": rounded(value), "ci95": interval_json(interval)}


def _by_pair(tag: str, log: PolicyLog) -> pd.Series[Any] | None:
    """The metric's value for each prompt and repeat; of a metric with many samples a request, the request's median."""
    metric = REGISTRY[tag]
    if isinstance(metric, SampleMetric):
        samples = metric.samples(log)
        if samples is None:
            return None
        values = samples.astype(float).dropna()
    elif isinstance(metric, RatioMetric):
        parts = metric.parts(log)
        if parts is None:
            return None
        parts = parts[parts["under"] > 0]
        values = (parts["over"] / parts["under"]).astype(float)
    else:
        return None
    if values.empty or list(values.index.names) != KEY:
        return None
    values = values.groupby(level=KEY).median()
    prompts = log.requests["prompt_id"]
    index = pd.MultiIndex.from_tuples([(prompts[key], key[0]) for key in values.index], names=PAIR)  # type: ignore[index]
    # a prompt that was asked twice in one repeat is one pair
    return pd.Series(values.to_numpy(), index=index).groupby(level=PAIR).median()
