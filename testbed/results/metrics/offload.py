"""What leaves the target's site, and at which price in latency: each policy against co-located speculation.

The comparison is paired by prompt: a prompt counts only where both policies answered it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from testbed.results.metrics.base import KEY, Metric, PolicyLog, RatioMetric, SampleMetric, Statistic, describe


def target_site_drafts(log: PolicyLog) -> pd.Series[Any]:
    """Draft passes on the target's own node, by request; a request without any counts 0."""
    local = log.drafts[log.drafts["node"].isin(log.target_nodes)]
    return log.per_request(local.groupby(KEY).size())


class TargetPasses(SampleMetric):
    tag, header, unit, direction, requires = "target_passes", "target passes", "passes", "lower", ("steps",)
    formula = "forward passes of the target model, per request"

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
    requires = ("requests", "steps")
    formula = "target-site draft passes / those of co-located speculation in this run, over the prompts both answered"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        if log.baseline is None:
            return None
        return _paired(_by_prompt(log, target_site_drafts(log), "mean"), log.baseline, target_site_drafts, "mean")

    def clusters(self, log: PolicyLog, parts: pd.DataFrame) -> list[str]:
        return list(parts.index)


class LatencyRatio(Metric):
    tag, header, unit, direction, requires = "latency_ratio", "latency ratio", "", "lower", ("requests",)
    formula = "median over prompts of (end-to-end time / that of co-located speculation for the same prompt)"

    def compute(self, log: PolicyLog) -> Statistic | None:
        if log.baseline is None:
            return None
        parts = _paired(_by_prompt(log, _e2e_ns(log), "median"), log.baseline, _e2e_ns, "median")
        ratios = (parts["over"] / parts["under"])[parts["under"] > 0]
        return None if ratios.empty else describe(ratios.to_numpy(float), list(ratios.index), self.seed(log))


def _e2e_ns(log: PolicyLog) -> pd.Series[Any]:
    return log.requests["finished_ns"] - log.requests["sent_ns"]


def _by_prompt(log: PolicyLog, values: pd.Series[Any], how: str) -> pd.Series[Any]:
    """Repeats of a prompt become one value, so that unequal numbers of repeats do not weigh."""
    grouped: pd.Series[Any] = values.groupby(log.requests["prompt_id"]).agg(how)
    return grouped


def _paired(mine: pd.Series[Any], baseline: PolicyLog, measure: Any, how: str) -> pd.DataFrame:
    return pd.DataFrame({"over": mine, "under": _by_prompt(baseline, measure(baseline), how)}).dropna()


METRICS = (TargetPasses(), TargetSiteDraftPasses(), TargetSiteDraftRatio(), LatencyRatio())
