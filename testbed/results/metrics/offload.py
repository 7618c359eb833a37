"""What leaves the target's site, and at which price in latency: each policy against co-located speculation.

The comparison is paired by prompt: a prompt counts only where both policies answered it.
"""

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
    describe,
    milliseconds,
    rounded,
)


def target_site_drafts(log: PolicyLog) -> pd.Series[Any]:
    """Draft passes on the target's own node, by request; a request without any counts 0."""
    return log.target_site_drafts


class TargetPasses(SampleMetric):
    tag, header, unit, direction, requires = "target_passes", "target passes", "passes", "lower", ("steps",)
    formula = "forward passes of the target model that included the request, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        return log.per_request(log.verifies.groupby(KEY).size())


class TargetSiteDraftPasses(SampleMetric):
    tag, header, unit, direction = "target_site_draft_passes", "target-site drafts", "passes", "lower"
    requires = ("steps",)
    formula = "forward passes of the draft model on the target's node, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        return target_site_drafts(log)


class TargetSiteDraftRatio(RatioMetric):
    tag, header, unit, direction = "target_site_draft_ratio", "target-site draft ratio", "", "lower"
    against_baseline = True
    requires = ("requests", "steps")
    formula = "target-site draft passes / those of co-located speculation in this run, over the prompts both answered"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        if log.baseline is None:
            return None
        return _paired(_by_prompt(log, target_site_drafts(log), "mean"), log.baseline, target_site_drafts, "mean")

    def clusters(self, log: PolicyLog, parts: pd.DataFrame) -> list[str]:
        return list(parts.index)


class LatencyRatio(Metric):
    against_baseline = True
    tag, header, unit, direction, requires = "latency_ratio", "latency ratio", "", "lower", ("requests",)
    shape = "samples"
    formula = "median over prompts of (end-to-end time / that of co-located speculation for the same prompt)"

    def compute(self, log: PolicyLog) -> Statistic | None:
        ratios = _latency_ratios(log)
        return None if ratios.empty else describe(ratios.to_numpy(float), list(ratios.index), self.seed(log))


class LatencyRatioMax(Metric):
    against_baseline = True
    tag, header, unit, direction, requires = "latency_ratio_max", "worst latency ratio", "", "lower", ("requests",)
    shape = "value"
    formula = "largest over prompts of (end-to-end time / that of co-located speculation for the same prompt)"

    def compute(self, log: PolicyLog) -> Statistic | None:
        ratios = _latency_ratios(log)
        # no interval: a bootstrap never draws a prompt worse than the worst one seen, so it says nothing of a maximum
        return None if ratios.empty else {"value": rounded(ratios.max()), "ci95": None}


def by_prompt(log: PolicyLog) -> pd.DataFrame | None:
    """One row per prompt that both policies answered, with what the ratios are made of; None without a baseline.

    `e2e_ms`, `target_site_draft_passes`, each also as `baseline_...`; `latency_difference_ms`, `latency_ratio` and
    `target_site_draft_ratio` (NaN where co-located speculation drafted nothing). The median of the latency ratios is
    the metric of that name; the metric of the draft ratio is one of sums, not a median of these.
    """
    if log.baseline is None:
        return None
    latency = _paired(_by_prompt(log, _e2e_ns(log), "median"), log.baseline, _e2e_ns, "median")
    drafts = _paired(_by_prompt(log, target_site_drafts(log), "mean"), log.baseline, target_site_drafts, "mean")
    found = pd.DataFrame({"e2e_ms": milliseconds(latency["over"]), "baseline_e2e_ms": milliseconds(latency["under"])})
    found["target_site_draft_passes"], found["baseline_target_site_draft_passes"] = drafts["over"], drafts["under"]
    found["latency_difference_ms"] = found["e2e_ms"] - found["baseline_e2e_ms"]
    found["latency_ratio"] = latency["over"] / latency["under"].where(latency["under"] > 0)
    found["target_site_draft_ratio"] = drafts["over"] / drafts["under"].where(drafts["under"] > 0)
    return found


def _latency_ratios(log: PolicyLog) -> pd.Series[Any]:
    """By prompt; empty without a baseline."""
    if log.baseline is None:
        return pd.Series(dtype=float)
    parts = _paired(_by_prompt(log, _e2e_ns(log), "median"), log.baseline, _e2e_ns, "median")
    return (parts["over"] / parts["under"])[parts["under"] > 0]


def _e2e_ns(log: PolicyLog) -> pd.Series[Any]:
    return log.requests["finished_ns"] - log.requests["sent_ns"]


def _by_prompt(log: PolicyLog, values: pd.Series[Any], how: str) -> pd.Series[Any]:
    """Repeats of a prompt become one value, so that unequal numbers of repeats do not weigh."""
    grouped: pd.Series[Any] = values.groupby(log.requests["prompt_id"]).agg(how)
    return grouped


def _paired(mine: pd.Series[Any], baseline: PolicyLog, measure: Any, how: str) -> pd.DataFrame:
    return pd.DataFrame({"over": mine, "under": _by_prompt(baseline, measure(baseline), how)}).dropna()


METRICS = (TargetPasses(), TargetSiteDraftPasses(), TargetSiteDraftRatio(), LatencyRatio(), LatencyRatioMax())
