"""Latency as the user sees it. The clock starts at the send, except where the name says `scheduled`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from testbed.results.metrics.base import KEY, PolicyLog, SampleMetric, milliseconds


class Ttft(SampleMetric):
    tag, header, unit, direction, requires = "ttft_ms", "TTFT", "ms", "lower", ("requests",)
    formula = "first token - sent, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        requests = log.requests
        return milliseconds(requests["first_token_ns"] - requests["sent_ns"]).where(requests["output_tokens"] >= 1)


class Tpot(SampleMetric):
    tag, header, unit, direction, requires = "tpot_ms", "TPOT", "ms", "lower", ("requests",)
    formula = "(end - first token) / (output tokens - 1), per request; undefined for one token"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        requests = log.requests
        gaps = (requests["output_tokens"] - 1).where(requests["output_tokens"] >= 2)
        return milliseconds(requests["finished_ns"] - requests["first_token_ns"]) / gaps


class ChunkGap(SampleMetric):
    tag, header, unit, direction, requires = "chunk_gap_ms", "chunk gap", "ms", "lower", ("requests",)
    formula = "time between two arrivals at the user, pooled; a chunk may hold several tokens, so this is not TPOT"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        gaps = log.requests["chunk_ns"].map(lambda arrivals: np.diff(np.asarray(arrivals, dtype=np.int64)))
        return milliseconds(gaps.explode().astype(float))


class E2e(SampleMetric):
    tag, header, unit, direction, requires = "e2e_ms", "end to end", "ms", "lower", ("requests",)
    formula = "end - sent, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        return milliseconds(log.requests["finished_ns"] - log.requests["sent_ns"])


class DispatchDelay(SampleMetric):
    tag, header, unit, direction, requires = "dispatch_delay_ms", "dispatch delay", "ms", "lower", ("requests",)
    formula = "sent - scheduled, per request: how late the load generator was"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        return milliseconds(log.requests["sent_ns"] - log.requests["scheduled_ns"])


class ScheduledE2e(SampleMetric):
    tag, header, unit, direction, requires = "scheduled_e2e_ms", "scheduled end to end", "ms", "lower", ("requests",)
    formula = "end - scheduled, per request: includes the load generator's backlog"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        return milliseconds(log.requests["finished_ns"] - log.requests["scheduled_ns"])


class RoundOverhead(SampleMetric):
    """What the testbed itself adds: all of a sequential policy's round at the target is device time, or overhead."""

    tag, header, unit, direction = "round_overhead_ms", "round overhead", "ms", "lower"
    requires = ("rounds", "steps")
    formula = (
        "round's wall time at the target - paced time of that round's passes, pooled over rounds; only for policies "
        "whose work at the target is sequential (autoregressive, speculative) and only on paced devices"
    )
    sequential = ("autoregressive", "speculative")

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        steps = log.steps[log.steps["node"].isin(log.target_nodes)]
        if log.name not in self.sequential or steps.empty or log.rounds.empty or (steps["paced_ms"] <= 0).any():
            return None
        # A pass belongs to the first round of its request and node that ends at or after the pass did.
        by = [*KEY, "node"]
        rounds = log.rounds.sort_values("finished_ns").assign(round_end=lambda frame: frame["finished_ns"])
        owned = pd.merge_asof(
            steps.sort_values("finished_ns")[[*by, "finished_ns", "paced_ms"]],
            rounds[[*by, "finished_ns", "round_end"]],
            on="finished_ns",
            by=by,
            direction="forward",
        )
        paced = owned.groupby([*by, "round_end"])["paced_ms"].sum()
        rounds = rounds.set_index([*by, "round_end"])
        overhead = milliseconds(rounds["finished_ns"] - rounds["started_ns"]) - paced.reindex(rounds.index)
        return overhead.droplevel(["node", "round_end"])


METRICS = (Ttft(), Tpot(), ChunkGap(), E2e(), DispatchDelay(), ScheduledE2e(), RoundOverhead())
