"""What a user's wait is made of: the way up, the device, the queue before it, the way down, and the drafter's exchange.

Rule: both ends of every interval are in the log, on the run's one clock; nothing here is inferred from a specification.
A message's way takes in framing, TCP and the receiver's wake-up, as they are part of the wait.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from testbed.results.metrics.base import KEY, PolicyLog, SampleMetric, busy_ms, milliseconds


class MessageWay(SampleMetric):
    """How long messages were in flight; their kinds alone say between which roles they travel."""

    kinds: ClassVar[frozenset[str]]
    requires = ("messages",)

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        sent = log.messages[log.messages["kind"].isin(self.kinds)].set_index(KEY)
        return milliseconds(sent["received_ns"] - sent["sent_ns"])


class Uplink(MessageWay):
    tag, header, unit, direction = "uplink_ms", "uplink", "ms", "lower"
    kinds = frozenset({"request"})
    formula = "request message received at the target - sent by the user, per request"


class Queue(SampleMetric):
    tag, header, unit, direction, requires = "queue_ms", "queue", "ms", "lower", ("steps",)
    formula = "first pass of a job started - job submitted, pooled over jobs: the wait for the device"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        jobs = log.steps.groupby([*KEY, "node", "kind", "job"])
        waits = milliseconds(jobs["started_ns"].min() - jobs["submitted_ns"].min())
        return waits.droplevel(["node", "kind", "job"])


class Compute(SampleMetric):
    tag, header, unit, direction, requires = "compute_ms", "compute", "ms", "lower", ("steps",)
    formula = "Σ (finished - started) of the passes on the target's node, its draft passes included, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        here = log.steps[log.steps["node"].isin(log.target_nodes)]
        if here.empty:
            return None
        return log.per_request(here.assign(busy_ms=busy_ms(here)).groupby(KEY)["busy_ms"].sum())


class Downlink(MessageWay):
    tag, header, unit, direction = "downlink_ms", "downlink", "ms", "lower"
    kinds = frozenset({"tokens"})
    formula = "tokens message received by the user - sent by the target, pooled over messages"


class DraftUplink(MessageWay):
    tag, header, unit, direction = "draft_uplink_ms", "draft uplink", "ms", "lower"
    kinds = frozenset({"speculation", "branches"})
    formula = "speculation message received at the target - sent by the drafter, one way, pooled over messages"


class DraftDownlink(MessageWay):
    tag, header, unit, direction = "draft_downlink_ms", "draft downlink", "ms", "lower"
    kinds = frozenset({"validation"})
    formula = "validation message received by the drafter - sent by the target, one way, pooled over messages"


METRICS = (Uplink(), Queue(), Compute(), Downlink(), DraftUplink(), DraftDownlink())
