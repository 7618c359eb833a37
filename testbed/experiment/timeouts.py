"""How long a phase may go without the end of a request where its experiment has taken away for good what it may need.

Pure; of both engines. Three times what a request should take at least, and some seconds: after that, requests that are
open are given up, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from testbed.experiment.faults import Event, node_stops
from testbed.system.units import NS_PER_S
from testbed.workload.planned import PlannedRequest

GIVE_UP_S = 10.0


def work_s(step_ms: float, rtt_ms: float, output_tokens: int, requests: Sequence[PlannedRequest]) -> float:
    """Three times a request at one token per step and round trip, after the longest wait for one to be due."""
    due = [0.0, *(one.due_ms for one in requests if one.due_ms is not None)]
    gap_ms = max((later - earlier for earlier, later in pairwise(due)), default=0.0)
    return (gap_ms + 3 * output_tokens * (step_ms + rtt_ms)) / 1e3


def last_for_good_ns(events: Sequence[Event], ends_cut_ns: Iterable[int]) -> int | None:
    """When the last node stops, or the last link is cut that never comes back; None: nothing is gone for good."""
    return max([*(stop.at_ns for stop in node_stops(events)), *ends_cut_ns], default=None)


def gives_up_s(for_good_ns: int, work_seconds: float) -> float:
    return for_good_ns / NS_PER_S + GIVE_UP_S + work_seconds
