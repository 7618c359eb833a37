"""Detects requests that arrive faster than they are served: latencies then grow with the length of the run.

Only an open loop can be overloaded: requests with their own time (`poisson`, `burst`, a load's) come whether or not
earlier ones have ended. Served slower than offered means: over the later half of the arrivals the number of open
requests rose by more than chance moves it, 2 standard deviations of as many arrivals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from testbed.system.units import NS_PER_S

OPEN_LOOPS = ("poisson", "burst")
LOADED = "load"  # when they came in a load
LEAST_RISE = 5  # requests


def overload(requests: pd.DataFrame, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`overload` of summary.json: each phase in which requests piled up, in the order of the log."""
    arrivals = manifest["scenario"].get("workload", {}).get("arrivals")
    if arrivals != LOADED and not (isinstance(arrivals, Mapping) and any(kind in arrivals for kind in OPEN_LOOPS)):
        return []
    found = []
    for (policy, _), rows in requests.groupby(["policy", "repeat"], sort=False):
        came, ended = (np.sort(rows[name].to_numpy()) for name in ("scheduled_ns", "finished_ns"))
        half_ns, last_ns = came[len(came) // 2], came[-1]
        open_half, open_last = (
            int(np.searchsorted(came, at, "right") - np.searchsorted(ended, at, "right")) for at in (half_ns, last_ns)
        )
        offered = int((came > half_ns).sum())
        if open_last - open_half > max(LEAST_RISE, 2 * math.sqrt(offered)):
            seconds = (last_ns - half_ns) / NS_PER_S
            found.append(
                {
                    "policy": str(policy),
                    "repeat": int(rows["repeat"].iloc[0]),
                    "open_at_half": open_half,
                    "open_at_last": open_last,
                    "offered_per_s": round(offered / seconds, 3),
                    "served_per_s": round((offered - open_last + open_half) / seconds, 3),
                }
            )
    return found


def sentence(one: Mapping[str, Any]) -> str:
    """One of `overload` for people."""
    return (
        f"{one['policy']}{', repeat ' + str(one['repeat'] + 1) if one['repeat'] else ''}: {one['offered_per_s']:.3g} "
        f"requests arrived per second and {one['served_per_s']:.3g} were served; {one['open_at_last']} were open "
        "when the "
        f"last arrived, {one['open_at_half']} at half of them: latencies grow with the number of requests"
    )
