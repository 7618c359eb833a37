"""What a figure of a paper shows, as numbers: lines over an axis, one metric against another, a distribution, or a map.

Rule kept: what is drawn (`testbed.reproduce.drawing`) is what the returned frame holds, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from testbed.reproduce import claims
from testbed.reproduce.value import column, select

NUMBER, PANEL, SERIES, X, Y, LOW, HIGH, VALID = "number", "panel", "series", "x", "y", "low", "high", "valid"
VALUE = "value"
CDF, MAP = "cdf", "map"


def numbers(spec: claims.Figure, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All panels of a figure, in order. `tables` by sweep; of a cdf, those with one row per prompt."""
    found = []
    for number, one in enumerate(spec.each_panel()):
        data = _panel(one, tables[one.sweep])
        data.insert(0, NUMBER, number)  # titles may repeat, as where a row of panels shows another metric
        data.insert(1, PANEL, one.title)
        found.append(data)
    return pd.concat(found, ignore_index=True)


def _panel(spec: claims.Figure, table: pd.DataFrame) -> pd.DataFrame:
    for key in (spec.x, spec.y):
        table = with_part(table, key)
    chosen = pd.concat(select(table, policy, spec.where, spec.name) for policy in spec.policies)
    column(chosen, spec.x, spec.name)
    if spec.y is not None:
        column(chosen, spec.y, spec.name)
    keyed = chosen.assign(**{SERIES: _series(spec, chosen)})
    reduce = {"lines": _lines, "scatter": _scatter, CDF: _distribution, MAP: _map}[spec.kind]
    return reduce(spec, keyed).assign(**{VALID: bool(chosen["valid"].all())})


def _lines(spec: claims.Figure, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a line and x: the median, and the middle half of what it is the median of."""
    assert spec.y is not None, "the file was checked"
    grouped = rows.groupby([SERIES, spec.x], sort=False)[spec.y]
    found = pd.DataFrame({Y: grouped.median(), LOW: grouped.quantile(0.25), HIGH: grouped.quantile(0.75)})
    return _in_order(found.reset_index().rename(columns={spec.x: X}), rows, X)


def _scatter(spec: claims.Figure, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per point: the medians of both metrics."""
    by = [SERIES] if spec.each is None else [SERIES, str(column(rows, spec.each, spec.name).name)]
    found = rows.groupby(by, sort=False)[[spec.x, spec.y]].median().reset_index()
    return _in_order(found.rename(columns={spec.x: X, spec.y: Y}), rows, by[-1])


def _map(spec: claims.Figure, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of x and y, in their order in the sweep: the median, and the middle half around it."""
    assert spec.y is not None and spec.value is not None, "the file was checked"
    grouped = rows.groupby([spec.y, spec.x], sort=False)[str(column(rows, spec.value, spec.name).name)]
    found = pd.DataFrame({VALUE: grouped.median(), LOW: grouped.quantile(0.25), HIGH: grouped.quantile(0.75)})
    return found.reset_index().rename(columns={spec.x: X, spec.y: Y}).assign(**{SERIES: spec.value})


def with_part(table: pd.DataFrame, key: str | None) -> pd.DataFrame:
    """AXIS.KEY of an axis whose values are mappings, also several keys deep, becomes a column too."""
    if key is None or key in table.columns:
        return table
    for axis in (axis for axis in table.columns if key.startswith(f"{axis}.")):
        keys = key.removeprefix(f"{axis}.").split(".")
        return table.assign(**{key: table[axis].map(lambda text: _within(json.loads(text), keys))})  # noqa: B023
    return table


def _within(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _distribution(spec: claims.Figure, rows: pd.DataFrame) -> pd.DataFrame:
    """One row a sample: its value, and the share of samples that are not larger; undefined ones are left out."""
    found = rows[[SERIES, spec.x]].dropna().sort_values(spec.x, kind="stable")
    grouped = found.groupby(SERIES, sort=False)[spec.x]
    share = (grouped.cumcount() + 1) / grouped.transform("size")
    return _in_order(found.rename(columns={spec.x: X}).assign(**{Y: share}), rows, Y)


def _series(spec: claims.Figure, rows: pd.DataFrame) -> pd.Series[str]:
    """The name of each row's line: the policy where there are several, and the value of `by`."""
    names = rows["policy"] if len(spec.policies) > 1 or spec.by is None else pd.Series("", index=rows.index)
    if spec.by is None:
        return names
    values = column(rows, spec.by, spec.name).map(
        lambda value: f"{value:g}" if isinstance(value, float | np.floating) else str(value)
    )
    return (names + " " + values).str.strip()


def _in_order(data: pd.DataFrame, rows: pd.DataFrame, then: str) -> pd.DataFrame:
    """Lines in the order in which the rows first have them, and what is in a line by value."""
    order = {name: index for index, name in enumerate(dict.fromkeys(rows[SERIES]))}
    ranked = data.assign(order=data[SERIES].map(order)).sort_values(["order", then], kind="stable")
    return ranked.drop(columns="order").reset_index(drop=True)
