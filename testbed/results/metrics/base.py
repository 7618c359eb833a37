"""What a metric is: a tag, a unit, a formula in words, and a few lines that compute it from one policy's log.

Rule: undefined is None, never 0, and no mean stands alone. Three shapes exist (SHAPES): samples, a value such as a
ratio of sums, and a list by position or class. A metric knows the log of one policy and its baseline, nothing
of files.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from testbed.results.metrics.accounts import Accounts
from testbed.results.statistics import median_interval, ratio_interval
from testbed.workload.slo import Window

Direction = Literal["lower", "higher", "neither"]
Shape = Literal["samples", "value", "list"]
SHAPES: Mapping[Shape, tuple[str, ...]] = {  # to the keys of a statistic
    "samples": ("median", "ci95", "p95", "n"),
    "value": ("value", "ci95"),
    "list": ("value", "n"),  # lists as long as each other
}
Statistic = dict[str, Any]

KEY = ["repeat", "request"]  # names one request within one policy
PASS = ["policy", "repeat", "node", "job", "started_ns"]  # names one pass among the batched ones of a run
BASELINE = "speculative"  # co-located speculation: what offloading is held against
DECIMALS = 6
NOTHING_KNOWN = Accounts()
FIGURES = ("value", "low", "high", "p95", "n")  # of a statistic as a row


@dataclass(frozen=True)
class PolicyLog:
    """One policy's finished requests, indexed by KEY, and their rows in the other tables, with KEY as columns."""

    label: str
    name: str
    requests: pd.DataFrame
    rounds: pd.DataFrame
    steps: pd.DataFrame
    messages: pd.DataFrame
    baseline: PolicyLog | None
    seed: int | None  # None: no intervals are wanted, as in a sweep of very many points
    accounts: Accounts = NOTHING_KNOWN
    slo_window: Window = "after_first"

    @cached_property
    def target_nodes(self) -> frozenset[str]:
        """Nodes that run the target. A node stands for its deployment: a drafter next door in the region is not it."""
        return frozenset(self.steps.loc[self.steps["kind"] == "verify", "node"])

    @cached_property
    def drafts(self) -> pd.DataFrame:
        return self.steps[self.steps["kind"] == "draft"]

    @cached_property
    def verifies(self) -> pd.DataFrame:
        return self.steps[self.steps["kind"] == "verify"]

    @cached_property
    def target_site_drafts(self) -> pd.Series[Any]:
        """Draft passes on the target's own node, by request; several metrics of several policies ask for them."""
        local = self.drafts[self.drafts["node"].isin(self.target_nodes)]
        return self.per_request(local.groupby(KEY).size())

    def per_request(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """A sum by request, spread over all requests: a request with nothing to sum counts 0."""
        return values.reindex(self.requests.index, fill_value=0)

    def prompts_of(self, index: pd.Index) -> list[str]:
        """The prompt of each sample, for resampling by prompt."""
        prompts = self.requests["prompt_id"].to_dict()
        return [prompts[key] for key in index]


def figures(statistic: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A statistic as rows: one for a number, one for each position or class of a list."""
    known = statistic or {}
    values = known.get("value")
    if isinstance(values, list):
        at = known.get("classes", range(1, len(values) + 1))
        for where, value, n in zip(at, values, known["n"], strict=True):
            yield {"at": where, "value": value, "n": n}
        return
    low, high = known.get("ci95") or (None, None)
    yield {"value": known.get("median", values), "low": low, "high": high, "p95": known.get("p95"), "n": known.get("n")}


class Metric(ABC):
    """One measured quantity. Subclasses say what it is in class attributes and how it is computed in one method."""

    tag: ClassVar[str]
    header: ClassVar[str]
    unit: ClassVar[str]  # "ms", "tokens", "passes", "bytes", or "" for a pure number
    formula: ClassVar[str]
    direction: ClassVar[Direction]
    requires: ClassVar[tuple[str, ...]]  # the tables of the log it reads
    shape: ClassVar[Shape]  # of what `compute` returns
    against_baseline: ClassVar[bool] = False  # whether it compares with co-located speculation in the same run

    @abstractmethod
    def compute(self, log: PolicyLog) -> Statistic | None: ...

    def seed(self, log: PolicyLog) -> tuple[int, int] | None:
        """Of the metric and the policy alone, so that adding a metric moves no other's interval."""
        return None if log.seed is None else (log.seed, zlib.crc32(f"{log.label}/{self.tag}".encode()))


class SampleMetric(Metric):
    """Many values, each belonging to a request (index: KEY, repeats allowed); NaN marks an undefined one."""

    shape = "samples"

    @abstractmethod
    def samples(self, log: PolicyLog) -> pd.Series[Any] | None: ...

    def compute(self, log: PolicyLog) -> Statistic | None:
        samples = self.samples(log)
        if samples is None:
            return None
        samples = samples.dropna()
        if samples.empty:
            return None
        return describe(samples.to_numpy(float), log.prompts_of(samples.index), self.seed(log))


class RatioMetric(Metric):
    """A ratio of sums: one row per request (or a prompt, where `clusters` says so), columns `over` and `under`."""

    shape = "value"

    @abstractmethod
    def parts(self, log: PolicyLog) -> pd.DataFrame | None: ...

    def clusters(self, log: PolicyLog, parts: pd.DataFrame) -> list[str]:
        return log.prompts_of(parts.index)

    def compute(self, log: PolicyLog) -> Statistic | None:
        parts = self.parts(log)
        if parts is None or parts.empty or not parts["under"].sum() > 0:
            return None
        over, under = parts["over"].to_numpy(float), parts["under"].to_numpy(float)
        interval = ratio_interval(over, under, self.clusters(log, parts), self.seed(log))
        return {"value": rounded(over.sum() / under.sum()), "ci95": interval_json(interval)}


def describe(
    values: np.ndarray[Any, np.dtype[np.float64]], clusters: list[str], seed: tuple[int, int] | None
) -> Statistic:
    """Median, 95 % interval, 95th percentile and count."""
    return {
        "median": rounded(np.median(values)),
        "ci95": interval_json(median_interval(values, clusters, seed)),
        "p95": rounded(np.percentile(values, 95)),
        "n": len(values),
    }


def rounded(value: Any) -> float:
    return round(float(value), DECIMALS)


def interval_json(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [rounded(end) for end in interval]


def milliseconds(ns: pd.Series[Any]) -> pd.Series[Any]:
    return ns / 1e6


def passes(steps: pd.DataFrame) -> pd.DataFrame:
    """One row per forward pass: a batched one has a row for each member in the log, and here one."""
    batched = steps["batch"] > 1
    if not batched.any():
        return steps
    return steps[~batched | ~steps.duplicated(PASS)]


def busy_ms(steps: pd.DataFrame) -> pd.Series[Any]:
    """How long the emulated device was occupied by each pass."""
    return milliseconds(steps["finished_ns"] - steps["started_ns"])
