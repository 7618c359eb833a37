"""Where the time of requests went: each moment between send and last token belongs to the first of KINDS under way.

Rule: both ends of every interval are in the log, and the kinds add up to the requests' end-to-end time. A pass counts
for a request that took part in it; what runs at the same time further down the list is hidden behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from testbed.results.metrics.base import KEY, PolicyLog

# In this order: what the target does comes before what others do meanwhile, since tokens leave there.
KINDS = (
    "prefill", "verify", "drafts at the target", "queue at the target", "drafts elsewhere", "in flight", "other wait",
)  # fmt: skip
OTHER = len(KINDS) - 1
Spans = tuple[int, pd.DataFrame]  # index in KINDS; columns KEY, from_ns, to_ns


def split_ms(log: PolicyLog) -> dict[str, float]:
    """Mean milliseconds a request by kind, every kind in the order of KINDS. Empty without requests."""
    if log.requests.empty:
        return {}
    requests = log.requests[["sent_ns", "finished_ns"]].rename(columns={"sent_ns": "from_ns", "finished_ns": "to_ns"})
    bounds = requests.reset_index()
    events = _events([(OTHER, bounds[[*KEY, "from_ns", "to_ns"]]), *_spans(log)], bounds)
    order = np.lexsort((events["at_ns"], events["row"]))
    row, at = (events[name].to_numpy()[order] for name in ("row", "at_ns"))
    under_way = np.zeros((len(order), len(KINDS)), dtype=np.int32)
    under_way[np.arange(len(order)), events["kind"].to_numpy()[order]] = events["change"].to_numpy()[order]
    # A request's changes add up to 0, so one running sum over all of them is right within each.
    running = np.cumsum(under_way, axis=0) > 0
    length = np.append(np.diff(at), 0)
    length[np.append(row[1:] != row[:-1], True)] = 0
    first = np.where(running.any(axis=1), running.argmax(axis=1), OTHER)
    total = np.bincount(first, weights=length, minlength=len(KINDS)) / 1e6 / len(bounds)
    return {kind: float(ms) for kind, ms in zip(KINDS, total, strict=True)}


def _spans(log: PolicyLog) -> Iterator[Spans]:
    steps = log.steps
    here = steps["node"].isin(log.target_nodes)
    verifies = steps["kind"] == "verify"
    start = verifies & (steps["position"] == 0)
    ran = {"started_ns": "from_ns", "finished_ns": "to_ns"}
    for kind, chosen in ((0, start), (1, verifies & ~start), (2, here & ~verifies), (4, ~here & ~verifies)):
        yield kind, steps.loc[chosen, [*KEY, *ran]].rename(columns=ran)
    queued = {"submitted_ns": "from_ns", "started_ns": "to_ns"}
    yield 3, steps.loc[here, [*KEY, *queued]].rename(columns=queued)
    flown = {"sent_ns": "from_ns", "received_ns": "to_ns"}
    yield 5, log.messages[[*KEY, *flown]].rename(columns=flown)


def _events(spans: list[Spans], bounds: pd.DataFrame) -> pd.DataFrame:
    """Two a span, cut to the time of its request: begin (+1) and end (-1)."""
    bounds = bounds.rename(columns={"from_ns": "first_ns", "to_ns": "last_ns"}).assign(row=range(len(bounds)))
    found = []
    for kind, span in spans:
        mine = span.merge(bounds, on=KEY)
        begin = mine["from_ns"].clip(lower=mine["first_ns"], upper=mine["last_ns"])
        end = mine["to_ns"].clip(lower=begin, upper=mine["last_ns"])
        for at, change in ((begin, 1), (end, -1)):
            found.append(pd.DataFrame({"row": mine["row"], "at_ns": at, "kind": kind, "change": change}))
    return pd.concat(found, ignore_index=True)
