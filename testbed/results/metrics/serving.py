"""How well the target's device is used by many requests at once. A batched pass counts once."""

from __future__ import annotations

from typing import Any

import pandas as pd

from testbed.results.metrics.base import KEY, PolicyLog, RatioMetric, SampleMetric, busy_ms, milliseconds, passes


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


METRICS = (VerifyBatchSize(), VerifierBusy())
