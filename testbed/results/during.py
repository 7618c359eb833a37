"""What happened to the links while a run went on: the in-run probe against its specification, the replay against time.

A window is some fifty probes in a row of one pair in one phase: its median is steady to some hundredths of a
millisecond, and it is short enough that a machine which slowed down for a while shows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from testbed.results.metrics.base import rounded
from testbed.results.records import STOPPED
from testbed.system.units import NS_PER_MS

WINDOW_PROBES = 50
FEWEST_PROBES = 20  # fewer say too little of a median; their pair is not judged in that phase
P99_STEPS = 100  # fewer have no 99th percentile, only a maximum
COLUMNS = ["policy", "repeat", "src", "dst", "sent_ns", "specified_ms", "error_ms", "probes"]


def windows(probes: pd.DataFrame) -> pd.DataFrame:
    """One row a window: when its first probe left, the median of specification and of error, and how many probes."""
    measured = comparable(probes)
    rows = []
    for (policy, repeat, src, dst), of_pair in measured.groupby(["policy", "repeat", "src", "dst"], sort=False):
        if len(of_pair) < FEWEST_PROBES:
            continue
        in_order = of_pair.sort_values("sent_ns")
        for part in np.array_split(np.arange(len(in_order)), max(1, len(in_order) // WINDOW_PROBES)):
            window = in_order.iloc[part]
            error_ms = float((window["rtt_ms"] - window["specified_ms"]).median())
            first_ns, specified_ms = int(window["sent_ns"].iloc[0]), float(window["specified_ms"].median())
            rows.append((policy, repeat, src, dst, first_ns, specified_ms, error_ms, len(window)))
    return pd.DataFrame(rows, columns=COLUMNS)


def comparable(probes: pd.DataFrame) -> pd.DataFrame:
    """Probes that came back, over links that had one right answer at their time."""
    return probes[probes["comparable"].astype(bool) & probes["rtt_ms"].notna()]


def lost(probes: pd.DataFrame) -> int:
    """Probes that did not come back though nothing was specified to keep them."""
    return int((probes["comparable"].astype(bool) & probes["rtt_ms"].isna()).sum())


def of_running_nodes(steps: pd.DataFrame, replay: pd.DataFrame) -> pd.DataFrame:
    """Passes without those that a stop of their node, as the experiment asked for it, held up."""
    kept = pd.Series(True, index=steps.index)
    for row in replay[replay["what"].str.startswith(STOPPED)].to_dict("records"):
        in_phase = (steps["policy"] == row["policy"]) & (steps["repeat"] == row["repeat"])
        of_node = steps["node"] == row["what"].removeprefix(STOPPED)
        kept &= ~(in_phase & of_node & (steps["finished_ns"] > row["applied_ns"]))
    return steps[kept]


def late_ms(replay: pd.DataFrame) -> float | None:
    """How late changes took effect: the 99th percentile, or the maximum of few; None where nothing changed."""
    late = (replay["applied_ns"] - replay["scheduled_ns"]) / NS_PER_MS
    if late.empty:
        return None
    in_order = np.sort(late.to_numpy())
    return float(in_order[-1] if len(in_order) < P99_STEPS else in_order[math.ceil(0.99 * len(in_order)) - 1])


def summary(probes: pd.DataFrame, replay: pd.DataFrame) -> dict[str, Any]:
    """`links.during` and `links.replay` of summary.json; null where there was none."""
    return {"during": _probes(probes) if len(probes) else None, "replay": _replay(replay) if len(replay) else None}


def _probes(probes: pd.DataFrame) -> dict[str, Any]:
    measured, of_windows = comparable(probes), windows(probes)
    error_ms = (measured["rtt_ms"] - measured["specified_ms"]).to_numpy()
    return {
        "pairs": len(probes[["src", "dst"]].drop_duplicates()),
        "probes": len(probes),
        "comparable": len(measured),
        "lost": lost(probes),
        "windows": len(of_windows),
        "worst_median_error_ms": rounded(float(of_windows["error_ms"].abs().max())) if len(of_windows) else None,
        "p99_error_ms": rounded(float(np.quantile(error_ms, 0.99, method="higher"))) if len(error_ms) else None,
    }


def _replay(replay: pd.DataFrame) -> dict[str, Any]:
    late = late_ms(replay)
    took_ms = (replay["applied_ns"] - replay["started_ns"]) / NS_PER_MS
    return {
        "steps": len(replay),
        "links_changed": int(replay["links"].sum()),
        "late_p99_ms": None if late is None else rounded(late),
        "took_median_ms": rounded(float(took_ms.median())),
    }
