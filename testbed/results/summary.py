"""`summary.json`: what a run found, in the names that the outside relies on, and whether it may be trusted.

Rule: everything here can be computed again from the run directory; undefined is null. `schema_version` grows by one
when a key goes or means something else; a summary without it is of version 1. Since version 2 late passes are judged
for each policy, node and kind of pass (`compute.by_device`), each reason has its advice, fewer than six prompts have
no interval, and `stamps` names what every table and figure carries.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from testbed.results import during, heldclock, tcp
from testbed.results.heldclock import dilation_of
from testbed.results.lateness import Late, by_device, shares
from testbed.results.metrics import RTT_ERROR, compute, not_accounted
from testbed.results.metrics.base import rounded
from testbed.results.overload import overload
from testbed.results.recorded import as_recorded
from testbed.results.sampling import unverified_by_choice
from testbed.results.stamps import stamps
from testbed.results.statistics import FEWEST_PROMPTS
from testbed.results.store import RunData
from testbed.results.unmet import unmet
from testbed.results.validity import Counts, checks_that_count, judge, not_judged

SCHEMA_VERSION = 2
CHECKED, RECORDED = "checked", "recorded"  # `lossless.kind`: against target-only decoding, or against the table itself


def summarise(run: RunData, counts: Counts) -> dict[str, Any]:
    """The whole summary of one run. `counts` is what its log cannot know: fabric counters, requests asked for."""
    manifest = run.manifest
    validity = judge(run, counts)
    found = {
        "schema_version": SCHEMA_VERSION,
        "compute_models": manifest.get("compute_models"),  # None: a simulation, or a run of before this was said
        **{key: manifest[key] for key in ("run_id", "experiment", "engine", "fabric", "nodes")},
        "validity": {"valid": validity.valid, "reasons": list(validity.reasons), "advice": list(validity.advice)},
        **_lossless(run),
        "sampling": manifest.get("sampling"),  # None: a run of before this was said
        "links": {
            **_links(run.links, counts, dilation_of(manifest)),
            "not_judged": not_judged(run),
            **during.summary(run.probes, run.replay),
        },
        "compute": _compute(run),
        **({"clock": clock} if (clock := heldclock.summary(manifest)) else {}),
        **({"tcp": said} if (said := tcp.summary(manifest)) else {}),
        "network": {RTT_ERROR.tag: RTT_ERROR.compute(run.links), "stale_messages": counts.stale_messages},
        "policies": compute(run),
        # Only where there is any: what has no joules or cost, by policy, and why.
        **({"not_accounted": unknown} if (unknown := not_accounted(run)) else {}),
        # Only where there are any: policies with too few prompts for an interval, and how many they have.
        **({"few_prompts": few} if (few := _few_prompts(run)) else {}),
        **({"unmet_events": events} if (events := unmet(manifest)) else {}),
        **({"overload": phases} if (phases := overload(run.requests, manifest)) else {}),
        # Only where trees were simulated: answers that the decode table approximated, by policy.
        **({"tree_lookups": manifest["tree_lookups"]} if "tree_lookups" in manifest else {}),
    }
    return found | {"stamps": [one.title for one in stamps(found)]}


def _few_prompts(run: RunData) -> dict[str, int]:
    counted = run.requests.groupby("policy")["prompt_id"].nunique()
    labels = [entry["label"] for entry in run.manifest["policies"]]
    return {label: n for label in labels if (n := int(counted.get(label, 0))) < FEWEST_PROMPTS}


def _lossless(run: RunData) -> dict[str, Any]:
    """Policies that gave losslessness up by choice are counted apart, and only where there are any."""
    given_up = unverified_by_choice(run.manifest["policies"])
    compared = run.requests.dropna(subset="lossless")
    by_choice = {label: _equal(compared[compared["policy"] == label]) for label in given_up}
    kind = RECORDED if as_recorded(run.manifest) else CHECKED
    claimed = {"lossless": {**_equal(compared[~compared["policy"].isin(given_up)]), "kind": kind}}
    return claimed | ({"not_lossless_by_choice": by_choice} if by_choice else {})


def _equal(compared: pd.DataFrame) -> dict[str, int]:
    return {"checked": len(compared), "equal": int(compared["lossless"].astype(bool).sum())}


def _links(links: pd.DataFrame, counts: Counts, dilation: float) -> dict[str, Any]:
    """All in virtual time, but for `wall`: what of an error is this machine's."""
    counting = checks_that_count(links)
    measured = counting[counting["received"] > 0]
    error = (measured["median_ms"] - measured["specified_ms"]).abs()
    one_way = (measured["one_way_median_ms"] - measured["one_way_specified_ms"]).abs()
    return {
        "pairs": len(links[["src", "dst"]].drop_duplicates()),
        "worst_median_error_ms": _largest(error),
        "p99_error_ms": _largest(measured["p99_ms"] - measured["specified_ms"]),
        "unmatched_packets": counts.unmatched_packets,
        "dropped_packets": counts.dropped_packets,
        "lost_packets": counts.lost_packets,
        "cut_packets": counts.cut_packets,
        "one_way": {"worst_median_error_ms": _largest(one_way)},
        "wall": {
            "worst_median_error_ms": _largest(error * dilation),
            "p99_error_ms": _largest((measured["p99_ms"] - measured["specified_ms"]) * dilation),
        },
    }


def _compute(run: RunData) -> dict[str, Any]:
    devices = by_device(during.of_running_nodes(run.steps, run.replay))
    by_number, by_time = shares(devices)
    return {
        "steps": sum(one.passes for one in devices),
        "overruns": sum(one.late for one in devices),
        "overrun_share": _optional(by_number),
        "overrun_time_share": _optional(by_time),
        "by_policy": {
            entry["label"]: _optional(shares([one for one in devices if one.policy == entry["label"]])[0])
            for entry in run.manifest["policies"]
        },
        "by_device": [_device(one) for one in devices],
    }


def _device(one: Late) -> dict[str, Any]:
    return {
        **{key: getattr(one, key) for key in ("policy", "node", "kind", "passes", "late")},
        "late_share": rounded(one.late_share),
        "late_time_share": rounded(one.late_time_share),
    }


def _largest(values: pd.Series[Any]) -> float | None:
    return _optional(float(values.max()))


def _optional(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else rounded(value)
