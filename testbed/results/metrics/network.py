"""What the network carried, by policy, and how well it kept its specification, by run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from testbed.results.metrics.base import KEY, PolicyLog, RatioMetric, Statistic, rounded


class BytesPerToken(RatioMetric):
    tag, header, unit, direction = "bytes_per_token", "bytes per token", "bytes", "lower"
    requires = ("messages", "requests")
    formula = "framed bytes of all messages of the request / output tokens; headers of TCP and IP not included"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        if log.messages.empty:
            return None
        sent = log.per_request(log.messages.groupby(KEY)["size_bytes"].sum())
        return pd.DataFrame({"over": sent, "under": log.requests["output_tokens"]})


class RttError:
    """Belongs to the run, not to a policy: links are checked before, during and after all of them."""

    tag, header, unit, direction, requires = "rtt_error_ms", "RTT error", "ms", "lower", ("links",)
    formula = "measured median RTT - specified RTT, per directed link and check; the worst by size"

    def errors(self, links: pd.DataFrame) -> pd.Series[Any]:
        """Signed, one a check; NaN where no packet came back."""
        errors: pd.Series[Any] = (links["median_ms"] - links["specified_ms"]).where(links["received"] > 0)
        return errors

    def compute(self, links: pd.DataFrame) -> Statistic | None:
        errors = self.errors(links).dropna().to_numpy(float)
        if not errors.size:
            return None
        return {
            "median": rounded(np.median(errors)),
            "worst": rounded(errors[np.argmax(np.abs(errors))]),
            "n": int(errors.size),
        }


METRICS = (BytesPerToken(),)
