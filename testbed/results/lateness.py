"""Passes that came later than the emulated device allows, judged where they decide: by policy, node and kind of pass.

Rule: a total may not hide a part. Each device is judged for itself as soon as it ran enough passes for a share to mean
something; devices with fewer are judged together, by policy and kind, and at last with all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from testbed.results.metrics.base import busy_ms, passes

FEWEST_PASSES = 300  # of these 1 % is three: fewer say too little about one device
DEVICE = ["policy", "node", "kind"]
# What a late pass did: its real pass was too slow, or its recorded answer left too late.
TOOK_LONGER, HANDED_ON = "took longer than the emulated device", "were handed on late"


class Late(NamedTuple):
    """`compute.by_device` of summary.json: what one node's passes of one kind did under one policy."""

    policy: str
    node: str
    kind: str
    passes: int
    late: int
    busy_ms: float
    late_ms: float

    @property
    def late_share(self) -> float:
        return self.late / self.passes

    @property
    def late_time_share(self) -> float:
        return self.late_ms / self.busy_ms if self.busy_ms > 0 else 0.0


def by_device(steps: pd.DataFrame) -> list[Late]:
    """In the order of the log."""
    one_each = passes(steps)
    if one_each.empty:
        return []
    grouped = pd.DataFrame(
        {
            **{name: one_each[name] for name in DEVICE},
            "late": one_each["overrun_ms"] > 0,
            "busy_ms": busy_ms(one_each),
            "late_ms": one_each["overrun_ms"],
        }
    ).groupby(DEVICE, sort=False)
    sums = grouped.sum().assign(passes=grouped.size()).reset_index()
    return [
        Late(
            row["policy"],
            row["node"],
            row["kind"],
            int(row["passes"]),
            int(row["late"]),
            row["busy_ms"],
            row["late_ms"],
        )
        for row in sums.to_dict("records")
    ]


def shares(devices: list[Late]) -> tuple[float | None, float | None]:
    """Late passes of all devices together, by number and by time; None where no pass ran."""
    whole = _together(devices)
    return (None, None) if whole is None or whole.busy_ms <= 0 else (whole.late_share, whole.late_time_share)


def too_late(devices: list[Late], by_number: float, by_time: float, what: str = TOOK_LONGER) -> Iterator[str]:
    """A sentence for each policy and kind of pass in which devices were late in more than these shares."""
    if not any(one.late for one in devices):
        return
    found = False
    for of_kind in _by_policy_and_kind(devices):
        judged = [one for one in of_kind if one.passes >= FEWEST_PASSES]
        few = _together([one for one in of_kind if one.passes < FEWEST_PASSES])
        judged += [few] if few is not None and few.passes >= FEWEST_PASSES else []
        late = [one for one in judged if one.late_share > by_number or one.late_time_share > by_time]
        if late:
            found = True
            yield _sentence(late, len(judged), by_number, by_time, what)
    whole = _together(devices)
    if not found and whole is not None and (whole.late_share > by_number or whole.late_time_share > by_time):
        yield _exceeded("all devices together", whole, by_number, by_time, what)


def _by_policy_and_kind(devices: list[Late]) -> Iterator[list[Late]]:
    for key in dict.fromkeys((one.policy, one.kind) for one in devices):
        yield [one for one in devices if (one.policy, one.kind) == key]


def _together(devices: list[Late]) -> Late | None:
    """As one device: of several nodes it says how many."""
    if not devices:
        return None
    first = devices[0]
    nodes = first.node if len(devices) == 1 else f"{len(devices)} nodes together"
    totals: list[Any] = [
        sum(values) for values in zip(*((d.passes, d.late, d.busy_ms, d.late_ms) for d in devices), strict=True)
    ]
    return Late(first.policy, nodes, first.kind, *totals)


def _sentence(late: list[Late], judged: int, by_number: float, by_time: float, what: str) -> str:
    worst = max(late, key=lambda one: max(one.late_share / by_number, one.late_time_share / by_time))
    others = f", the worst of {len(late)} late nodes among {judged}" if len(late) > 1 else ""
    return _exceeded(f"{worst.policy}: {worst.kind} passes on {worst.node}{others}", worst, by_number, by_time, what)


def _exceeded(where: str, one: Late, by_number: float, by_time: float, what: str) -> str:
    """Both shares, each with its limit where it is beyond it."""
    number = f"{one.late_share:.1%} of {one.passes} {what}"
    time = f"by {one.late_time_share:.1%} of its busy time"
    allowed = [f"{by_number:.0%} of passes"] if one.late_share > by_number else []
    allowed += [f"{by_time:.0%} of busy time"] if one.late_time_share > by_time else []
    return f"{where}: {number}, {time}; allowed: {' and '.join(allowed)}"
