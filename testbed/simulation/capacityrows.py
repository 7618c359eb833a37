"""A capacity as rows of tables: one line of numbers, and its saturation curve, one line for each size that was probed.

`capacity` is per request; `capacity_per_user` and `capacity_fleet` are those of the others. All
have `_low` and `_high`, the 95 % interval over prompts and seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from testbed.simulation.capacity import Capacity
from testbed.simulation.judging import Level
from testbed.simulation.noisysearch import ENDS
from testbed.simulation.probing import classes_of
from testbed.workload.slo import SCOPES, Scope

MEASURES = {"per_request": "violations", "per_user": "users_below", "fleet": "fleet_needs"}


def column_of(scope: Scope) -> str:
    return "capacity" if scope == "per_request" else f"capacity_{scope}"


def line(found: Capacity) -> dict[str, Any]:
    """The numbers of one search; figures at capacity are those of the first scope that was searched for."""
    row: dict[str, Any] = {}
    for scope in SCOPES:
        one, name = found.scopes.get(scope), column_of(scope)
        low, high = (None, None) if one is None or one.interval is None else one.interval
        row |= {name: None if one is None else one.users, f"{name}_low": low, f"{name}_high": high}
    first = next(iter(found.scopes))
    at = found.at(first)
    row["tokens_per_s_per_user"] = None if at is None else round(at.emitted_per_user, 2)
    row["token_goodput"] = None if at is None else round(at.goodput(first), 1)
    row["violations"] = None if at is None else round(float(at.measures["per_request"][0]), 4)
    row["requests"] = None if at is None else at.requests
    row["by_class"] = [] if at is None else [list(one) for one in at.by_class]
    row["not_monotone"] = [scope for scope, one in found.scopes.items() if one.not_monotone is not None]
    return row


def curve(found: Capacity) -> list[dict[str, Any]]:
    """What fleets of each size should have got, and got: offered and emitted tokens a second, and goodput."""
    rates = classes_of(found.rate_per_s)
    return [_point(level, sum(rates) / len(rates)) for level in found.levels]


def draws(found: Capacity) -> dict[str, list[int]]:
    """Capacities of the resamples by column; those of two policies belong together pair by pair."""
    return {column_of(scope): list(one.draws) for scope, one in found.scopes.items()}


def _point(level: Level, mean_rate: float) -> dict[str, Any]:
    emitted = level.emitted_per_user
    row: dict[str, Any] = {
        "users": level.users,
        "requests": level.requests,
        "offered_tokens_per_s": round(level.users * mean_rate, 3),
        "emitted_tokens_per_s": round(level.users * emitted, 3),
        "tokens_per_s_per_user": round(emitted, 3),
    }
    for scope in SCOPES:
        measured, name = level.measures[scope], MEASURES[scope]
        row[name] = round(float(measured[0]), 6)
        low, high = np.percentile(measured[1:], ENDS) if len(measured) > 1 else (None, None)
        row |= {f"{name}_low": _rounded(low), f"{name}_high": _rounded(high)}
    return row | {f"goodput_{scope}": round(level.goodput(scope), 3) for scope in SCOPES}


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 6)
