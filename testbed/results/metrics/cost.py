"""What a policy costs, wherever it is spent: device time by site and role, drafts everywhere, bytes, joules, money.

All are of finished requests, per 1000 output tokens where they are sums. A batched pass is shared out evenly among its
members. Rule kept: what has no source has no value; `missing` says what that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from testbed.results.metrics.accounts import PROFILE_OF
from testbed.results.metrics.base import KEY, Metric, PolicyLog, RatioMetric, SampleMetric, Statistic, rounded

PER = 1000.0  # output tokens
JOULES_PER_KWH = 3.6e6


def role_of(node: str) -> str:
    """Nodes are named by role and number (`experiment.scenario.Place.nodes`)."""
    return node.rstrip("0123456789")


def shared_s(steps: pd.DataFrame) -> pd.Series[Any]:
    """Each row's share of its pass, in seconds of the device."""
    return (steps["finished_ns"] - steps["started_ns"]) / 1e9 / steps["batch"]


class GpuSecondsBySite(Metric):
    tag, header, unit, direction = "gpu_seconds_by_site", "device time by site", "s/1000 tokens", "lower"
    requires, shape = ("steps", "requests"), "list"
    formula = "time that devices of a site and role computed / output tokens x 1000; drafts count where they ran"

    def compute(self, log: PolicyLog) -> Statistic | None:
        tokens = int(log.requests["output_tokens"].sum())
        if log.steps.empty or not tokens:
            return None
        where = log.steps["site"] + " " + log.steps["node"].map(role_of)
        spent, passes = shared_s(log.steps).groupby(where).sum(), where.groupby(where).size()
        values = [rounded(PER * value / tokens) for value in spent]
        return {"value": values, "n": [int(one) for one in passes], "classes": [str(one) for one in spent.index]}


class _PerTokens(RatioMetric):
    """A sum over the request / its output tokens x 1000."""

    def spent(self, log: PolicyLog) -> pd.Series[Any] | None:
        """By request; None where it is not known."""
        raise NotImplementedError

    def parts(self, log: PolicyLog) -> pd.DataFrame | None:
        spent = self.spent(log)
        if spent is None:
            return None
        return pd.DataFrame({"over": spent, "under": log.requests["output_tokens"] / PER})


class GpuSeconds(_PerTokens):
    tag, header, unit, direction = "gpu_seconds", "device time, all sites", "s/1000 tokens", "lower"
    requires = ("steps", "requests")
    formula = "time that devices of all nodes computed / output tokens x 1000"

    def spent(self, log: PolicyLog) -> pd.Series[Any] | None:
        return None if log.steps.empty else _by_request(log, log.steps, shared_s(log.steps))


class DraftPasses(SampleMetric):
    tag, header, unit, direction, requires = "draft_passes", "drafts everywhere", "passes", "lower", ("steps",)
    formula = "forward passes of the draft model on any node, per request"

    def samples(self, log: PolicyLog) -> pd.Series[Any]:
        return log.per_request(log.drafts.groupby(KEY).size())


class WanBytes(_PerTokens):
    tag, header, unit, direction = "wan_bytes", "bytes between sites", "bytes/1000 tokens", "lower"
    requires = ("messages", "requests")
    formula = "framed bytes of the request's messages between different sites / output tokens x 1000"

    def spent(self, log: PolicyLog) -> pd.Series[Any] | None:
        if log.messages.empty or not log.accounts.sites:
            return None
        crossing = _crossing(log)
        return _by_request(log, crossing, crossing["size_bytes"])


class Joules(_PerTokens):
    tag, header, unit, direction = "joules", "energy of passes", "J/1000 tokens", "lower"
    requires = ("steps", "requests")
    formula = "power that the device's source names x its time in passes / output tokens x 1000; waiting not counted"

    def spent(self, log: PolicyLog) -> pd.Series[Any] | None:
        joules = _joules(log)
        return None if joules is None else _by_request(log, log.steps, joules)


class Cost(_PerTokens):
    tag, header, unit, direction = "cost", "cost", "currency/1000 tokens", "lower"
    requires = ("steps", "messages", "requests")
    formula = "device time, bytes between sites and energy by the experiment's prices / output tokens x 1000"

    def spent(self, log: PolicyLog) -> pd.Series[Any] | None:
        prices = log.accounts.prices
        if prices is None or log.steps.empty or not log.accounts.sites or any(_missing_prices(log)):
            return None
        places = zip(log.steps["node"].map(role_of), log.steps["site"], strict=True)
        rate = pd.Series([prices.device_s(*place) for place in places], log.steps.index, dtype=float)
        total = _by_request(log, log.steps, shared_s(log.steps) * rate)
        crossing = _crossing(log)
        senders = crossing["src"].map(log.accounts.sites)
        per_byte = pd.Series([prices.wan_byte(site) for site in senders], crossing.index, dtype=float)
        total = total + _by_request(log, crossing, crossing["size_bytes"] * per_byte)
        if prices.kwh:
            joules = _joules(log)
            if joules is None:
                return None
            total = total + _by_request(log, log.steps, joules) * prices.kwh / JOULES_PER_KWH
        return total


def missing(log: PolicyLog) -> Iterator[str]:
    """Why a policy has no joules or no cost, in words; nothing where it has, and no cost where none was asked for."""
    unpowered = _without_power(log)
    if unpowered:
        named = " and ".join(PROFILE_OF[model] for model in unpowered)
        yield f"no joules: the device profile of the {named} has no power with a source"
    if log.accounts.prices is not None:
        yield from (f"no cost: {one}" for one in _missing_prices(log))
        if unpowered and log.accounts.prices.kwh:
            yield "no cost: energy has a price, and joules are not known"


def _missing_prices(log: PolicyLog) -> Iterator[str]:
    prices = log.accounts.prices
    assert prices is not None
    nodes = log.steps[["node", "site"]].drop_duplicates()
    for role, site in sorted({(role_of(str(node)), str(site)) for node, site in nodes.itertuples(index=False)}):
        if prices.device_s(role, site) is None:
            yield f"prices.device_h has no price of a {role} in {site}"
    for site in sorted({str(one) for one in _crossing(log)["src"].map(log.accounts.sites)}):
        if prices.wan_byte(site) is None:
            yield f"prices.wan_gb has no price of {site}"


def _without_power(log: PolicyLog) -> list[str]:
    return [str(model) for model in log.steps["model"].unique() if model not in log.accounts.busy_w]


def _joules(log: PolicyLog) -> pd.Series[Any] | None:
    if log.steps.empty or _without_power(log):
        return None
    joules: pd.Series[Any] = shared_s(log.steps) * log.steps["model"].map(log.accounts.busy_w)
    return joules


def _crossing(log: PolicyLog) -> pd.DataFrame:
    src, dst = (log.messages[end].map(log.accounts.sites) for end in ("src", "dst"))
    return log.messages[src != dst]


def _by_request(log: PolicyLog, rows: pd.DataFrame, values: pd.Series[Any]) -> pd.Series[Any]:
    return log.per_request(values.groupby([rows[key] for key in KEY]).sum())


METRICS = (GpuSecondsBySite(), GpuSeconds(), DraftPasses(), WanBytes(), Joules(), Cost())
