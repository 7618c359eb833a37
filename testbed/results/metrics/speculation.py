"""How well speculation went. A round cut by the length limit or the end of sequence counts only what was emitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from testbed.results.metrics.base import (
    KEY,
    Metric,
    PolicyLog,
    RatioMetric,
    SampleMetric,
    Statistic,
    busy_ms,
    rounded,
)


def counted_rounds(log: PolicyLog) -> pd.DataFrame:
    """The rounds with `drafts` and `accepted` cut where the output ended, so that no token past the end is counted."""
    rounds = log.rounds
    cut = rounds["emitted"] <= rounds["accepted"]
    return rounds.assign(
        drafts=rounds["drafts"].where(~cut, rounds["emitted"]),
        accepted=rounds["accepted"].where(~cut, rounds["emitted"]),
    )


class AcceptanceRate(RatioMetric):
    tag, header, unit, direction, requires = "acceptance_rate", "acceptance", "", "higher", ("rounds",)
    formula = "accepted draft tokens / verified draft tokens"

    def parts(self, log: PolicyLog) -> pd.DataFrame:
        sums = counted_rounds(log).groupby(KEY)[["accepted", "drafts"]].sum()
        return sums.rename(columns={"accepted": "over", "drafts": "under"})


class TokensPerRound(RatioMetric):
    tag, header, unit, direction, requires = "tokens_per_round", "tokens per round", "tokens", "higher", ("rounds",)
    formula = "Σ (accepted + 1) / rounds; the last round counts only tokens before the output's end"

    def parts(self, log: PolicyLog) -> pd.DataFrame:
        grouped = log.rounds.groupby(KEY)["emitted"]
        return pd.DataFrame({"over": grouped.sum(), "under": grouped.size()})


class AcceptanceByPosition(Metric):
    shape = "list"
    tag, header, unit, direction = "acceptance_by_position", "acceptance by position", "", "higher"
    requires = ("rounds",)
    formula = "for draft position i = 1, 2, …: rounds that accepted at least i / rounds that verified at least i drafts"

    def compute(self, log: PolicyLog) -> Statistic | None:
        rounds = counted_rounds(log)
        longest = int(rounds["drafts"].max()) if len(rounds) else 0
        if longest == 0:
            return None
        positions = range(1, longest + 1)
        offered = [int((rounds["drafts"] >= i).sum()) for i in positions]
        accepted = [int((rounds["accepted"] >= i).sum()) for i in positions]
        return {"value": [rounded(a / o) for a, o in zip(accepted, offered, strict=True)], "n": offered}


def wasted_tokens(log: PolicyLog) -> pd.Series[Any] | None:
    """Drafted but not accepted, by request; None where the policy never drafts."""
    if log.drafts.empty:
        return None
    drafted = log.per_request(log.drafts.groupby(KEY).size())
    return drafted - log.per_request(counted_rounds(log).groupby(KEY)["accepted"].sum())


class WastedDraftTokens(SampleMetric):
    tag, header, unit, direction = "wasted_draft_tokens", "wasted drafts", "tokens", "lower"
    requires = ("rounds", "steps")
    formula = "draft passes anywhere (one token each) - accepted draft tokens, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        return wasted_tokens(log)


class WastedDraftMs(SampleMetric):
    tag, header, unit, direction = "wasted_draft_ms", "wasted draft time", "ms", "lower"
    requires = ("rounds", "steps")
    formula = "draft time anywhere, of shared passes its part, * wasted draft tokens / draft passes, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        wasted = wasted_tokens(log)
        if wasted is None:
            return None
        drafts = log.drafts.assign(busy_ms=busy_ms(log.drafts) / log.drafts["batch"]).groupby(KEY)["busy_ms"]
        return log.per_request(drafts.mean()) * wasted


class OverlapRatio(RatioMetric):
    tag, header, unit, direction, requires = "overlap_ratio", "overlap", "", "higher", ("steps",)
    formula = "drafting time away from the target while it verifies the same request / all drafting time away from it"

    def parts(self, log: PolicyLog) -> pd.DataFrame:
        remote = log.drafts[~log.drafts["node"].isin(log.target_nodes)]
        verifies = dict(list(log.verifies.groupby(KEY)))
        rows = []
        for key, drafts in remote.groupby(KEY):
            hidden = 0.0 if key not in verifies else _overlap_ms(drafts, verifies[key])
            rows.append((key, hidden, float(busy_ms(drafts).sum())))
        index = pd.MultiIndex.from_tuples([row[0] for row in rows], names=KEY) if rows else log.requests.index[:0]
        return pd.DataFrame({"over": [r[1] for r in rows], "under": [r[2] for r in rows]}, index=index)


def _overlap_ms(passes: pd.DataFrame, others: pd.DataFrame) -> float:
    """How much of `passes` lies inside `others`, whose intervals do not overlap one another."""
    others = others.sort_values("started_ns")
    edges = others[["started_ns", "finished_ns"]].to_numpy(np.int64)
    origin = edges[0, 0]  # subtracted first: a float holds a monotonic clock's nanoseconds only to about 0.1 us
    covered = np.concatenate([[0], np.cumsum(edges[:, 1] - edges[:, 0])])
    levels = np.column_stack([covered[:-1], covered[1:]]).ravel()  # time covered at each edge
    at = (edges - origin).ravel()
    start = np.interp((passes["started_ns"] - origin).to_numpy(float), at, levels)
    end = np.interp((passes["finished_ns"] - origin).to_numpy(float), at, levels)
    return float((end - start).sum()) / 1e6


METRICS = (
    AcceptanceRate(),
    TokensPerRound(),
    AcceptanceByPosition(),
    WastedDraftTokens(),
    WastedDraftMs(),
    OverlapRatio(),
)
