"""What the emulation itself added to a run, read from its log: what in its times is neither policy nor link.

Two figures, both medians: from the end of a device job until its role asked for the next one, in policies that keep the
target's device busy while there is a request; and how much later than its link's one-way delay a message arrived.
"""

from __future__ import annotations

import math

import pandas as pd

from testbed.results.metrics.latency import RoundOverhead
from testbed.results.store import RunData
from testbed.simulation.world import Overheads

# A job of theirs follows the one before it at once, while there is a request; other policies' may wait for messages.
KEEP_BUSY = (*RoundOverhead.sequential, "centralised")


def measured_overheads(run: RunData) -> Overheads:
    """Of an emulated run; a figure that its log cannot give is 0."""
    return Overheads(job_ms=_median_ms(_after_jobs(run)), message_ms=_median_ms(_beyond_links(run)))


def _after_jobs(run: RunData) -> pd.Series[float]:
    busy = [entry["label"] for entry in run.manifest["policies"] if entry["name"] in KEEP_BUSY]
    steps = run.steps[run.steps["policy"].isin(busy)]
    device = ["policy", "repeat", "node"]
    jobs = steps.groupby([*device, "job"]).agg(asked=("submitted_ns", "min"), done=("finished_ns", "max"))
    jobs = jobs.sort_values("asked")
    # the wait for the next request is among these too: one in dozens, which a median does not see
    waits: pd.Series[float] = jobs["asked"] - jobs.groupby(device)["done"].shift()
    return waits.dropna()


def _beyond_links(run: RunData) -> pd.Series[float]:
    specified = run.links.drop_duplicates(["src", "dst"]).set_index(["src", "dst"])["one_way_specified_ms"] * 1e6
    messages = run.messages.join(specified.rename("one_way_ns"), on=["src", "dst"])
    late: pd.Series[float] = messages["received_ns"] - messages["sent_ns"] - messages["one_way_ns"]
    return late.clip(lower=0)


def _median_ms(ns: pd.Series[float]) -> float:
    median = float(ns.median())
    return 0.0 if math.isnan(median) else round(median / 1e6, 6)
