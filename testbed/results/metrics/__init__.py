"""The metrics registry: every name a table or figure may use, and one way to compute them for every policy of a run.

Undefined is None, never 0. A new metric is one class in the module of its family and one entry in its METRICS.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from testbed.results.metrics import cost, latency, network, offload, serving, slo, speculation, wait
from testbed.results.metrics.accounts import Accounts
from testbed.results.metrics.base import BASELINE, KEY, Metric, PolicyLog, Statistic
from testbed.results.store import RunData

FAMILIES: Mapping[str, tuple[Metric, ...]] = types.MappingProxyType(
    {
        "Latency": latency.METRICS,
        "Wait, split": wait.METRICS,
        "Offload": offload.METRICS,
        "Speculation": speculation.METRICS,
        "Serving": serving.METRICS,
        "SLO": slo.METRICS,
        "Network": network.METRICS,
        "Cost": cost.METRICS,
    }
)
REGISTRY: Mapping[str, Metric] = types.MappingProxyType(
    {metric.tag: metric for metrics in FAMILIES.values() for metric in metrics}
)
RTT_ERROR = network.RttError()
LISTS = tuple(tag for tag, metric in REGISTRY.items() if metric.shape == "list")  # by draft position, by class

__all__ = [
    "BASELINE", "FAMILIES", "LISTS", "REGISTRY", "RTT_ERROR", "Metric", "PolicyLog", "Statistic", "compute",
    "not_accounted", "policy_logs",
]  # fmt: skip


def policy_logs(run: RunData) -> dict[str, PolicyLog]:
    """The run split by policy label, in the manifest's order, each with the run's baseline if it has one."""
    seed, accounts = run.manifest["scenario"]["seed"], Accounts.of(run.manifest)
    entries = [(str(entry["label"]), str(entry["name"])) for entry in run.manifest["policies"]]
    baseline_label = next((label for label, name in entries if name == BASELINE), None)
    baseline = None if baseline_label is None else _policy_log(run, baseline_label, BASELINE, None, seed, accounts)
    return {
        # of the baseline itself the log is at hand already
        label: replace(baseline, baseline=baseline)
        if baseline is not None and label == baseline_label
        else _policy_log(run, label, name, baseline, seed, accounts)
        for label, name in entries
    }


def compute(run: RunData) -> dict[str, dict[str, Statistic | None]]:
    """Every metric of the registry for every policy of the run."""
    return {
        label: {tag: metric.compute(log) for tag, metric in REGISTRY.items()} for label, log in policy_logs(run).items()
    }


def not_accounted(run: RunData) -> dict[str, list[str]]:
    """By policy: what has no joules or no cost, and why; without those that have all."""
    said = {label: list(cost.missing(log)) for label, log in policy_logs(run).items()}
    return {label: lines for label, lines in said.items() if lines}


def _policy_log(
    run: RunData, label: str, name: str, baseline: PolicyLog | None, seed: int | None, accounts: Accounts
) -> PolicyLog:
    """What never finished, or is logged twice, is left out here and is a reason in `testbed.results.validity`."""
    requests = run.requests[run.requests["policy"] == label].drop_duplicates(KEY).set_index(KEY)

    def finished(frame: pd.DataFrame) -> pd.DataFrame:
        mine = frame[frame["policy"] == label]
        known = np.isin(_one_number(mine["repeat"], mine["request"]), _one_number(*_levels(requests.index)))
        return mine if known.all() else mine[known]

    return PolicyLog(
        label=label,
        name=name,
        requests=requests,
        rounds=finished(run.rounds),
        steps=finished(run.steps),
        messages=finished(run.messages),
        baseline=baseline,
        seed=seed,
        accounts=accounts,
        slo_window=run.manifest["scenario"].get("workload", {}).get("slo_window", "after_first"),
    )


def _levels(index: pd.Index) -> tuple[Any, Any]:
    return index.get_level_values("repeat"), index.get_level_values("request")


def _one_number(repeats: Any, requests: Any) -> NDArray[np.int64]:
    """Both halves of KEY in one integer, because looking up integers is ten times faster than looking up tuples."""
    both: NDArray[np.int64] = np.asarray(repeats, dtype=np.int64) * 2**40 + np.asarray(requests, dtype=np.int64)
    return both
