"""The table of a sweep: one row per point and policy, the point's settings, its validity, and every metric with
interval.

Columns: `point`, `run_id`, `engine`, one for each axis, `policy`, `status`, `error`, `valid`, `reasons`,
`lossless_checked`, `lossless_equal`, `run`, `tree_lookups` (answers of the decode table about draft trees),
`tree_lookups_approximated`; then of each metric `M` its median or value, its 95 % interval `M_low` to `M_high`, and
`M_p95`.
Rule kept: rows follow from the points alone, in their order, so any number of workers gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from testbed.files.whole import replacing
from testbed.results.metrics import LISTS, REGISTRY
from testbed.results.metrics.base import Metric, RatioMetric
from testbed.results.metrics.offload import LatencyRatioMax
from testbed.sweeps.matrix import Axes
from testbed.sweeps.plan import Point
from testbed.sweeps.point import PointResult

SWEEP = "sweep"
PARQUET, CSV = f"{SWEEP}.parquet", f"{SWEEP}.csv"
FINISHED, FAILED = "finished", "failed"
WITHOUT_TAIL = (RatioMetric, LatencyRatioMax)  # one number, not a distribution's


def make_table(
    axes: Axes, points: Sequence[Point], results: Mapping[str, PointResult], metrics: Sequence[str], engine: str
) -> pa.Table:
    """`results` by run id; every point has one."""
    rows = [{**row, "engine": engine} for point in points for row in _rows(point, results[point.run_id], metrics)]
    schema = pa.schema([*_fixed(axes), *(field for tag in metrics for field in _fields(REGISTRY[tag]))])
    return pa.Table.from_pylist([texts(row, schema) for row in rows], schema=schema)


def write_table(table: pa.Table, directory: Path, stem: str = SWEEP) -> None:
    """Both files, each whole or not at all."""
    for name, write in ((f"{stem}.parquet", _parquet), (f"{stem}.csv", pyarrow.csv.write_csv)):
        with replacing(directory / name) as partial:
            write(table, partial)


def _parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _rows(point: Point, result: PointResult, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    fixed = {
        "point": point.number,
        "run_id": point.run_id,
        **point.settings,
        "status": FINISHED if result.error is None else FAILED,
        "error": result.error,
        "valid": result.valid,
        "reasons": "; ".join(result.reasons) or None,
        "lossless_checked": result.lossless_checked,
        "lossless_equal": result.lossless_equal,
        "run": result.directory,
    }
    for entry in point.scenario.policies:
        known = result.policies.get(entry.label, {})
        of, approximated = result.lookups.get(entry.label, (None, None))
        lookups = {"tree_lookups": of, "tree_lookups_approximated": approximated}
        yield {**fixed, **lookups, "policy": entry.label} | {
            key: value for tag in metrics for key, value in _cells(tag, known.get(tag)).items()
        }


def _cells(tag: str, statistic: Mapping[str, Any] | None) -> dict[str, Any]:
    if statistic is None:
        return {}
    low, high = statistic.get("ci95") or (None, None)
    value = statistic["median"] if "median" in statistic else statistic["value"]
    return {tag: value, f"{tag}_low": low, f"{tag}_high": high, f"{tag}_p95": statistic.get("p95")}


def _fixed(axes: Axes) -> list[pa.Field]:
    return [
        pa.field("point", pa.int64()),
        pa.field("run_id", pa.string()),
        pa.field("engine", pa.string()),
        *axis_fields(axes),
        pa.field("policy", pa.string()),
        pa.field("status", pa.string()),
        pa.field("error", pa.string()),
        pa.field("valid", pa.bool_()),
        pa.field("reasons", pa.string()),
        pa.field("lossless_checked", pa.int64()),
        pa.field("lossless_equal", pa.int64()),
        pa.field("run", pa.string()),
        pa.field("tree_lookups", pa.int64()),
        pa.field("tree_lookups_approximated", pa.int64()),
    ]


def _fields(metric: Metric) -> list[pa.Field]:
    if metric.tag in LISTS:
        return [pa.field(metric.tag, pa.string())]
    ends = ["", "_low", "_high", *([] if isinstance(metric, WITHOUT_TAIL) else ["_p95"])]
    return [pa.field(f"{metric.tag}{end}", pa.float64()) for end in ends]


def axis_fields(axes: Axes) -> list[pa.Field]:
    """One column an axis."""
    return [pa.field(key, _kind(values)) for key, values in axes.items()]


def _kind(values: Sequence[Any]) -> pa.DataType:
    """Of an axis: numbers where all values are numbers, else text."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def texts(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """The row with what stands in a text column made text: names as they are, mappings and lists as JSON."""
    cells = {field.name: row.get(field.name) for field in schema}
    return cells | {field.name: _text(cells[field.name]) for field in schema if field.type == pa.string()}


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else as_text(value)


def as_text(value: Any) -> str:
    """How a mapping or a list stands in the table."""
    return json.dumps(value, sort_keys=True)
