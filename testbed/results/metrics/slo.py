"""SLO attainment: token rates that requests must reach, and what batched verification costs each of them.

A request meets its SLO if its average rate is at least the SLO rate: after the first token, (tokens - 1) / (end - first
token), where one with a single token always does, or from sending, tokens / (end - sent), as `workload.slo_window`
says for all metrics of a run. By the chunk, which WISP's paper may mean as well, is `slo_chunk_attainment`. A user's
average, and the fleet's, are other scopes of the SLO (`testbed.workload.slo`). Requests without an SLO are not
counted.
"""

from __future__ import annotations

from typing import Any, ClassVar

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
    milliseconds,
    rounded,
)
from testbed.workload.slo import kept, span

PROMISE = "slo_tokens_per_s"


def promised(log: PolicyLog) -> pd.DataFrame | None:
    """The requests with an SLO and `kept`, whether it was met, with the `counted` tokens and the `seconds` they took;
    None if no request has one."""
    if PROMISE not in log.requests.columns:
        return None  # a run from before there were promises
    mine = log.requests[log.requests[PROMISE].notna()]
    if mine.empty:
        return None
    columns = (mine[name].to_numpy() for name in ("output_tokens", "sent_ns", "first_token_ns", "finished_ns"))
    counted, seconds = span(log.slo_window, *columns)
    met = kept(counted, seconds, mine[PROMISE].to_numpy(float))
    return mine.assign(kept=met, counted=counted, seconds=seconds)


def with_averages(mine: pd.DataFrame) -> pd.DataFrame:
    """With `user_kept`, whether the request's user has the SLO on average over their requests."""
    whole = mine.groupby(["repeat", "node"])[["counted", "seconds"]].transform("sum")
    met = kept(whole["counted"].to_numpy(float), whole["seconds"].to_numpy(float), mine[PROMISE].to_numpy(float))
    return mine.assign(user_kept=met)


class SloAttainment(RatioMetric):
    tag, header, unit, direction, requires = "slo_attainment", "SLO attainment", "", "higher", ("requests",)
    formula = (
        "requests with (tokens - 1) / (end - first token) at least the SLO rate / requests with an SLO; with "
        "slo_window: whole it is tokens / (end - sent)"
    )

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        mine = promised(log)
        return None if mine is None else pd.DataFrame({"over": mine["kept"].astype(float), "under": 1.0})


class SloAttainmentPerUser(RatioMetric):
    tag, header, unit, direction = "slo_attainment_per_user", "SLO attainment per user", "", "higher"
    requires = ("requests",)
    formula = "users whose tokens / seconds, summed over their requests, are at least the SLO rate / users with an SLO"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        mine = promised(log)
        if mine is None:
            return None
        met = with_averages(mine).groupby(["repeat", "node"])["user_kept"].all()
        return pd.DataFrame({"over": met.astype(float), "under": 1.0})

    def clusters(self, log: PolicyLog, parts: pd.DataFrame) -> list[str]:
        return [str(node) for node in parts.index.get_level_values("node")]


class SloFleetAttainment(RatioMetric):
    tag, header, unit, direction = "slo_fleet_attainment", "rate of the fleet over its SLO", "", "higher"
    requires = ("requests",)
    formula = "Σ tokens / Σ SLO rate * seconds, over requests with an SLO: from 1 the fleet has its rate on average"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        mine = promised(log)
        if mine is None:
            return None
        return pd.DataFrame({"over": mine["counted"], "under": mine[PROMISE].astype(float) * mine["seconds"]})


class TokensPerSecondPerUser(RatioMetric):
    tag, header, unit, direction = "tokens_per_s_per_user", "tokens per user", "tokens/s", "higher"
    requires = ("requests",)
    formula = "Σ output tokens / Σ (end - sent): what a user gets while a request is open, with an SLO or not"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        open_s = milliseconds(log.requests["finished_ns"] - log.requests["sent_ns"]) / 1e3
        return pd.DataFrame({"over": log.requests["output_tokens"].astype(float), "under": open_s})


class SloAttainmentByClass(Metric):
    shape = "list"
    tag, header, unit, direction = "slo_attainment_by_class", "SLO attainment by class", "", "higher"
    requires = ("requests",)
    formula = "slo_attainment per SLO rate, in ascending order; the rates are `classes`"

    def compute(self, log: PolicyLog) -> Statistic | None:
        mine = promised(log)
        if mine is None:
            return None
        grouped = mine.groupby(PROMISE)["kept"]
        return {
            "value": [rounded(share) for share in grouped.mean()],
            "n": [int(count) for count in grouped.size()],
            "classes": [rounded(rate) for rate in grouped.mean().index],
        }


class SloAttainmentStrictest(RatioMetric):
    tag, header, unit, direction = "slo_attainment_strictest", "SLO attainment, strictest class", "", "higher"
    requires = ("requests",)
    formula = "slo_attainment of the requests with the highest SLO rate"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        mine = promised(log)
        if mine is None:
            return None
        strictest = mine[mine[PROMISE] == mine[PROMISE].max()]
        return pd.DataFrame({"over": strictest["kept"].astype(float), "under": 1.0})


class SloChunkAttainment(RatioMetric):
    tag, header, unit, direction = "slo_chunk_attainment", "chunks in time", "", "higher"
    requires = ("requests",)
    formula = "chunks after the first that arrived within tokens / SLO rate of the previous one / all such chunks"

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        mine = promised(log)
        if mine is None:
            return None
        rows = []
        for rate, at, tokens in zip(mine[PROMISE], mine["chunk_ns"], mine["chunk_tokens"], strict=True):
            gaps_s = np.diff(np.asarray(at, dtype=np.int64)) / 1e9
            in_time = kept(np.asarray(tokens[1:], dtype=float), gaps_s, rate)
            rows.append((int(in_time.sum()), len(gaps_s)))
        return pd.DataFrame(rows, columns=["over", "under"], index=mine.index).astype(float)


class _Goodput(RatioMetric):
    """Something of the requests that met their SLO, for each second from first send to last end of a repeat."""

    direction, requires = "higher", ("requests",)
    met: ClassVar[str] = "kept"  # the column that says for which requests

    def counted(self, kept: pd.DataFrame) -> pd.Series[Any]:
        raise NotImplementedError

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        mine = promised(log)
        if mine is None:
            return None
        ends = mine.groupby("repeat").agg(first=("sent_ns", "min"), last=("finished_ns", "max"))
        mine = with_averages(mine)
        good = self.counted(mine[mine[self.met]]).groupby("repeat").sum().reindex(ends.index, fill_value=0)
        return pd.DataFrame({"over": good.astype(float), "under": milliseconds(ends["last"] - ends["first"]) / 1e3})

    def clusters(self, log: PolicyLog, parts: pd.DataFrame) -> list[str]:
        return [str(repeat) for repeat in parts.index]


class TokenGoodput(_Goodput):
    tag, header, unit = "token_goodput", "token goodput", "tokens/s"
    formula = "output tokens of requests that met their SLO / time from the first send to the last end, per repeat"

    def counted(self, kept: pd.DataFrame) -> pd.Series[Any]:
        return kept["output_tokens"]


class TokenGoodputPerUser(TokenGoodput):
    tag, header, met = "token_goodput_per_user", "token goodput, users on average", "user_kept"
    formula = "output tokens of users who have their SLO on average / time from the first send to the last end"


class RequestGoodput(_Goodput):
    tag, header, unit = "request_goodput", "request goodput", "requests/s"
    formula = "requests that met their SLO / time from the first send to the last end, per repeat"

    def counted(self, kept: pd.DataFrame) -> pd.Series[Any]:
        return pd.Series(1, index=kept.index)


class PastRejectionMs(SampleMetric):
    tag, header, unit, direction = "past_rejection_ms", "drafting past a rejection", "ms", "lower"
    requires = ("rounds", "steps")
    formula = "WISP's wasted drafting time: Σ over rounds max(0, drafts - accepted - 1) * mean draft pass, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        if log.drafts.empty:
            return None
        rounds = log.rounds
        past = (rounds["drafts"] - rounds["accepted"] - 1).clip(lower=0)
        # a round cut by the output's end was not rejected anywhere
        past = past.where(rounds["emitted"] > rounds["accepted"], 0)
        tokens = log.per_request(rounds.assign(past=past).groupby(KEY)["past"].sum())
        mean_ms = log.drafts.assign(busy_ms=busy_ms(log.drafts)).groupby(KEY)["busy_ms"].mean()
        return log.per_request(mean_ms) * tokens


class VerifyWaitMs(SampleMetric):
    tag, header, unit, direction = "verify_wait_ms", "wait for verification", "ms", "lower"
    requires = ("messages", "rounds")
    formula = "from the arrival of a device's drafts to the pass that verifies them, pooled over such rounds"

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        asked = waits_of_rounds(log)
        return None if asked is None else asked.set_index(KEY)["wait_ms"]


class InterferenceMs(SampleMetric):
    tag, header, unit, direction = "interference_ms", "verification interference", "ms", "lower"
    requires = ("messages", "rounds", "steps")
    formula = (
        "wait for verification + time of the batched pass - profiled time of a pass for this request alone, over rounds"
    )

    def samples(self, log: PolicyLog) -> pd.Series[Any] | None:
        asked = waits_of_rounds(log)
        if asked is None or "alone_ms" not in log.verifies.columns:
            return None
        wanted = [*KEY, "submitted_ns", "pass_ms", "alone_ms", "batch"]
        took = log.verifies.assign(pass_ms=busy_ms(log.verifies))[wanted]
        both = asked.merge(took, left_on=[*KEY, "verify_submitted_ns"], right_on=[*KEY, "submitted_ns"])
        longer = (both["pass_ms"] - both["alone_ms"]).where(both["batch"] > 1, 0.0)
        return (both["wait_ms"] + longer).set_axis(pd.MultiIndex.from_frame(both[KEY]))


def waits_of_rounds(log: PolicyLog) -> pd.DataFrame | None:
    """Rounds that a device asked for, with `wait_ms`: since the first time it asked after the round before."""
    asked = log.messages[log.messages["kind"] == "drafts"]
    if asked.empty or log.rounds.empty:
        return None
    rounds = log.rounds.sort_values("started_ns")
    found = pd.merge_asof(
        rounds[[*KEY, "started_ns", "verify_submitted_ns"]],
        asked.sort_values("received_ns")[[*KEY, "received_ns"]],
        left_on="started_ns",
        right_on="received_ns",
        by=KEY,
        direction="forward",
    )
    found = found[found["received_ns"] <= found["verify_submitted_ns"]]
    return found.assign(wait_ms=milliseconds(found["verify_submitted_ns"] - found["received_ns"]))


METRICS = (
    SloAttainment(),
    SloAttainmentPerUser(),
    SloFleetAttainment(),
    TokensPerSecondPerUser(),
    SloAttainmentByClass(),
    SloAttainmentStrictest(),
    SloChunkAttainment(),
    TokenGoodput(),
    TokenGoodputPerUser(),
    RequestGoodput(),
    PastRejectionMs(),
    VerifyWaitMs(),
    InterferenceMs(),
)
