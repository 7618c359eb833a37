"""The second table of a sweep, where asked for: one row per point, policy and prompt, against co-located speculation.

For distributions over prompts, which medians and intervals cannot show. Rule kept: rows follow from the points alone,
in their order, as in `testbed.sweeps.table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from testbed.sweeps.matrix import Axes
from testbed.sweeps.plan import Point
from testbed.sweeps.point import PointResult
from testbed.sweeps.table import FAILED, FINISHED, axis_fields, texts

PROMPTS = "prompts"  # the files' stem
NUMBERS = (
    "e2e_ms", "baseline_e2e_ms", "latency_difference_ms", "latency_ratio", "target_site_draft_passes",
    "baseline_target_site_draft_passes", "target_site_draft_ratio",
)  # fmt: skip


def make_prompt_table(axes: Axes, points: Sequence[Point], results: Mapping[str, PointResult]) -> pa.Table:
    """`results` by run id; a point that failed has no rows."""
    schema = pa.schema(
        [
            pa.field("point", pa.int64()),
            *axis_fields(axes),
            pa.field("policy", pa.string()),
            pa.field("status", pa.string()),
            pa.field("valid", pa.bool_()),
            pa.field("prompt_id", pa.string()),
            *(pa.field(name, pa.float64()) for name in NUMBERS),
        ]
    )
    rows = (row for point in points for row in _rows(point, results[point.run_id]))
    return pa.Table.from_pylist([texts(row, schema) for row in rows], schema=schema)


def _rows(point: Point, result: PointResult) -> Iterator[dict[str, Any]]:
    status = FINISHED if result.error is None else FAILED
    fixed = {"point": point.number, **point.settings, "status": status, "valid": result.valid}
    for entry in point.scenario.policies:
        for prompt in result.prompts.get(entry.label, ()):
            yield {**fixed, "policy": entry.label, **prompt}
