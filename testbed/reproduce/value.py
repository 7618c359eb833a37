"""How a claim's value comes out of a sweep's table: rows selected, then reduced to one number.

Rule kept: a selection that matches nothing, or more than it may, is bad input; a value of rows that are not valid says
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from testbed.errors import BadInput
from testbed.files.yamlfile import nearest
from testbed.reproduce.claims import Reach, Value, Where
from testbed.sweeps.table import as_text

DRAWS = "_draws"  # a column of this ending holds the metric's resamples, those of two rows belonging together
BOUND = "_bound"  # a column of this ending says whether the metric's number is only a bound
AT_LEAST, AT_MOST = "at least", "at most"
OPPOSITE = {AT_LEAST: AT_MOST, AT_MOST: AT_LEAST}  # what a bound becomes below the line, or subtracted


@dataclass(frozen=True)
class Ours:
    """What we found. `number` is None where the metric is undefined, or nothing reaches as far as asked."""

    number: float | None
    interval: tuple[float, float] | None
    valid: bool
    rows: int
    bound: str = ""  # "at least" or "at most", where the search that gave the number ended at a limit
    spread: bool = False  # the interval is the middle half of several points, not one of the number


def compute(value: Value, table: pd.DataFrame) -> Ours:
    """Of one value; BadInput for a column or setting that the table does not have."""
    rows = select(table, value.policy, value.where, value.name)
    column(rows, value.metric, value.name)
    if value.per is not None:
        rows = _divided(rows, value.metric, column(rows, value.per, value.name))
    other = value.over or value.less
    if other is not None:
        rows = _compared(rows, select(table, other, value.where, value.name), value)
    valid = bool(rows["valid"].all())
    if value.reach is not None:
        return Ours(_reach(rows, value.metric, value.reach, value.name), None, valid, len(rows))
    if value.reduce == "only" and len(rows) != 1:
        raise BadInput(f"claim value {value.name!r}: {len(rows)} rows match; narrow `where`, or set `reduce: median`")
    defined = rows[value.metric].dropna()
    if defined.empty:
        return Ours(None, None, valid, len(rows))
    bounds = bounds_of(rows, value.metric)
    if value.reduce == "only":
        return Ours(float(defined.iloc[0]), _interval(rows.iloc[0], value.metric), valid, 1, bounds.iloc[0])
    if bounds.any():
        raise BadInput(f"claim value {value.name!r}: {value.metric} is bounded in some rows only; narrow `where`")
    number = {"median": defined.median, "min": defined.min, "max": defined.max}[value.reduce]()
    spread = (float(defined.quantile(0.25)), float(defined.quantile(0.75))) if value.reduce == "median" else None
    several = spread if len(defined) > 1 else None
    return Ours(float(number), several, valid, len(rows), spread=several is not None)


def select(table: pd.DataFrame, policy: str, where: Where, name: str) -> pd.DataFrame:
    """The finished rows of a policy with these settings; BadInput where there are none."""
    labels = list(dict.fromkeys(table["policy"]))
    if policy not in labels:
        raise BadInput(f"claims: {name!r}: no policy {policy!r} in the sweep{nearest(policy, labels)}")
    rows = table[(table["policy"] == policy) & (table["status"] == "finished")]
    for key, wanted in where.items():
        column(rows, key, name)
        any_of = wanted if isinstance(wanted, list) else [wanted]
        rows = rows[rows[key].isin([as_text(one) if isinstance(one, dict) else one for one in any_of])]
    if rows.empty:
        raise BadInput(f"claims: {name!r}: no finished point of the sweep has {dict(where)}")
    return rows


def column(table: pd.DataFrame, key: str, name: str) -> pd.Series[Any]:
    """A column of the table, or BadInput."""
    if key not in table.columns:
        raise BadInput(f"claims: {name!r}: the sweep's table has no column {key!r}{nearest(key, table.columns)}")
    return table[key]


def emulated(value: Value, summary: Mapping[str, Any]) -> Ours:
    """The same value in the summary of an emulated run."""
    if value.over is not None or value.less is not None:
        raise BadInput(f"claims: {value.name!r}: policies can be compared in a table only, not in a summary")
    policies = summary["policies"]
    if value.policy not in policies:
        raise BadInput(
            f"claims: {value.name!r}: the summary has no policy {value.policy!r}{nearest(value.policy, policies)}"
        )
    valid = bool(summary["validity"]["valid"])
    statistic = policies[value.policy].get(value.metric)
    if statistic is None:
        return Ours(None, None, valid, 1)
    ends = statistic.get("ci95")
    number = statistic["median"] if "median" in statistic else statistic["value"]
    return Ours(float(number), (ends[0], ends[1]) if ends else None, valid, 1)


def bounds_of(rows: pd.DataFrame, metric: str) -> pd.Series[str]:
    """For each row whether its number is only a bound: empty where it is the number itself."""
    name = f"{metric}{BOUND}"
    return rows[name] if name in rows.columns else pd.Series("", index=rows.index)


def _compared(rows: pd.DataFrame, others: pd.DataFrame, value: Value) -> pd.DataFrame:
    """Each row against the other policy's at the same point. Two numbers that are both bounds say nothing."""
    metric = value.metric
    valid = pd.Series(others["valid"].to_numpy(), index=others["point"])
    by = pd.Series(others[metric].to_numpy(), index=others["point"]).reindex(rows["point"])
    bound = pd.Series(bounds_of(others, metric).to_numpy(), index=others["point"]).reindex(rows["point"], fill_value="")
    theirs = pd.Series(by.to_numpy(), index=rows.index)
    mine, other = bounds_of(rows, metric), pd.Series(bound.to_numpy(), index=rows.index)
    both = (mine != "") & (other != "")
    found = rows[metric] / theirs.where(theirs > 0) if value.over is not None else rows[metric] - theirs
    ends = _ends_of(rows, others, value)
    turned = other.map(lambda text: OPPOSITE.get(text, ""))
    return rows.assign(
        **ends,
        **{metric: found.where(~both), f"{metric}{BOUND}": mine.where(mine != "", turned)},
        valid=rows["valid"] & pd.Series(valid.reindex(rows["point"], fill_value=False).to_numpy(), index=rows.index),
    )


def _ends_of(rows: pd.DataFrame, others: pd.DataFrame, value: Value) -> dict[str, Any]:
    """Both ends of the comparison's interval, from resamples that belong together; without them it has none: those of
    the two policies alone are not the comparison's."""
    metric = value.metric
    theirs = dict(zip(others["point"], _draws_of(others, metric), strict=True))
    low, high = [], []
    for point, mine in zip(rows["point"], _draws_of(rows, metric), strict=True):
        found = np.asarray(mine, dtype=float), np.asarray(theirs.get(point, []), dtype=float)
        if not len(found[0]) or len(found[0]) != len(found[1]):
            low.append(np.nan)
            high.append(np.nan)
            continue
        if value.over is not None:
            defined = found[1] > 0
            compared = found[0][defined] / found[1][defined] if defined.any() else np.array([np.nan])
        else:
            compared = found[0] - found[1]
        ends = np.percentile(compared, [2.5, 97.5])
        low.append(float(ends[0]))
        high.append(float(ends[1]))
    return {f"{metric}_low": low, f"{metric}_high": high}


def _draws_of(rows: pd.DataFrame, metric: str) -> list[list[float]]:
    name = f"{metric}{DRAWS}"
    return list(rows[name]) if name in rows.columns else [[]] * len(rows)


def _divided(rows: pd.DataFrame, metric: str, by: pd.Series[Any]) -> pd.DataFrame:
    """Without the metric's interval, which is not the quotient's."""
    ends = [end for end in (f"{metric}_low", f"{metric}_high") if end in rows.columns]
    return rows.drop(columns=ends).assign(**{metric: rows[metric] / by.where(by > 0)})


def _interval(row: pd.Series[Any], metric: str) -> tuple[float, float] | None:
    low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
    return None if low is None or high is None or pd.isna(low) or pd.isna(high) else (float(low), float(high))


def _reach(rows: pd.DataFrame, metric: str, reach: Reach, name: str) -> float | None:
    column(rows, reach.axis, name)
    reached: float | None = None
    for at, median in rows.groupby(reach.axis)[metric].median().sort_index().items():
        if not median <= reach.at_most:
            break
        reached = float(at)  # type: ignore[arg-type]  # an axis of numbers
    return reached
