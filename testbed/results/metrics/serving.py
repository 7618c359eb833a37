"""How well the target's device is used by many requests at once. A batched pass counts once."""

from __future__ import annotations

from typing import Any

import pandas as pd

from testbed.results.metrics.base import (
    KEY,
    Metric,
    PolicyLog,
    RatioMetric,
    SampleMetric,
    Statistic,
    busy_ms,
    milliseconds,
    passes,
    rounded,
)


class VerifyBatchSize(SampleMetric):
    tag, header, unit, direction = "verify_batch_size", "batch size", "requests", "neither"
    requires = ("steps",)
    formula = "requests in a target pass, pooled over passes; undefined where every pass was of one request"

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        taken = passes(log.verifies)
        return taken.set_index(KEY)["batch"] if (taken["batch"] > 1).any() else None


class VerifierBusy(RatioMetric):
    tag, header, unit, direction, requires = "verifier_busy", "verifier busy", "", "neither", ("requests", "steps")
    formula = "time of all target passes / time from the first send to the last end, per repeat"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        taken = passes(log.verifies)
        if taken.empty:
            return None
        busy = taken.assign(busy_ms=busy_ms(taken)).groupby("repeat")["busy_ms"].sum()
        ends = log.requests.groupby("repeat").agg(first=("sent_ns", "min"), last=("finished_ns", "max"))
        nodes = taken.groupby("repeat")["node"].nunique()
        return pd.DataFrame({"over": busy, "under": milliseconds(ends["last"] - ends["first"]) * nodes})

    def clusters(self, log: PolicyLog, parts: pd.DataFrame) -> list[str]:
        return [str(repeat) for repeat in parts.index]


def _first_target_passes(log: PolicyLog) -> pd.DataFrame:
    """Of each request: where it began, and with how many cached tokens."""
    return log.verifies.sort_values("started_ns", kind="stable").drop_duplicates(KEY).set_index(KEY)


class CachedPromptTokens(SampleMetric):
    tag, header, unit, direction = "cached_prompt_tokens", "prompt tokens in cache", "tokens", "higher"
    requires = ("steps",)
    formula = (
        "tokens of a request's prompt that its target had in key-value memory already; undefined where no request's "
        "target had any"
    )

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        cached = _first_target_passes(log)["position"]
        return cached if (cached > 0).any() else None


class CachedPromptShare(RatioMetric):
    tag, header, unit, direction = "cached_prompt_share", "prompts in cache", "", "higher"
    requires = ("steps", "requests")
    formula = "cached prompt tokens / prompt tokens, summed over requests; undefined where none was cached"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        cached = _first_target_passes(log)["position"]
        if not (cached > 0).any():
            return None
        return pd.DataFrame({"over": log.per_request(cached), "under": log.requests["prompt_tokens"]})


class RequestsByTarget(Metric):
    tag, header, unit, direction = "requests_by_target", "requests by target", "", "neither"
    requires, shape = ("steps", "requests"), "list"
    formula = "share of requests whose first target pass was at a node; undefined where one node had all passes"

    def compute(self, log: PolicyLog) -> Statistic | None:
        if len(log.target_nodes) < 2:
            return None
        first = _first_target_passes(log)
        counts = first.groupby(first["node"] + " " + first["site"]).size().sort_index(key=_by_number)
        values = [rounded(count / len(first)) for count in counts]
        return {"value": values, "n": [int(one) for one in counts], "classes": [str(one) for one in counts.index]}


def _by_number(names: pd.Index) -> pd.Index:
    """target2 before target10."""
    return names.map(lambda name: (len(name.split()[0]), name))


METRICS = (VerifyBatchSize(), VerifierBusy(), CachedPromptTokens(), CachedPromptShare(), RequestsByTarget())
