"""What `testbed sweep` prints: the table while it is short, else where it is, and what to distrust."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.results.headings import NARROW
from testbed.results.stamps import simulated
from testbed.results.table import stamped
from testbed.sweeps.plan import Sweep
from testbed.sweeps.run import SweepOutcome
from testbed.sweeps.table import PARQUET

LONGEST = 40  # rows that a terminal can still show
SHOWN = ("tpot_ms", "e2e_ms", "latency_ratio", "target_site_draft_ratio", "tokens_per_round")
UNDEFINED = "-"


def as_dict(outcome: SweepOutcome) -> dict[str, Any]:
    """The answer for programs."""
    return {
        "engine": outcome.engine,
        "directory": str(outcome.directory),
        "table": str(outcome.directory / PARQUET),
        "points": len(outcome.points),
        "resumed": outcome.resumed,
        "valid": outcome.valid,
        "failed": [
            {"point": point.number, "settings": dict(point.settings), "error": error} for point, error in outcome.failed
        ],
        "not_valid": [
            {"point": point.number, "settings": dict(point.settings), "reasons": list(reasons)}
            for point, reasons in outcome.invalid
        ],
    }


def render(sweep: Sweep, outcome: SweepOutcome) -> RenderableType:
    """The answer for people."""
    parts: list[RenderableType] = [stamped(simulated())] if outcome.engine == "simulation" else []
    parts += [_table(sweep, outcome)] if outcome.table.num_rows <= LONGEST else []
    counts = f"{len(outcome.points)} points"
    if outcome.resumed:
        counts += f", {outcome.resumed} of them finished before"
    if outcome.failed:
        counts += f", {len(outcome.failed)} failed"
    if outcome.invalid:
        counts += f", {len(outcome.invalid)} NOT VALID"
    distrust = [Text(f"not valid: {point.name}: {'; '.join(reasons)}") for point, reasons in outcome.invalid[:LONGEST]]
    return Group(*parts, *distrust, Text(counts))


def _table(sweep: Sweep, outcome: SweepOutcome) -> Table:
    table = Table(title=f"{sweep.experiment}", title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left",
                  caption="medians; ratios are to co-located speculation at the same point")  # fmt: skip
    for key in (*sweep.axes, "policy"):
        table.add_column(key.replace(".", ".\n"))
    shown = [tag for tag in SHOWN if tag in outcome.table.column_names]
    for tag in shown:
        table.add_column(NARROW[tag], justify="right")
    for row in outcome.table.to_pylist():
        label = row["policy"] if row["valid"] else f"{row['policy']} ({'failed' if row['error'] else 'NOT VALID'})"
        numbers = [UNDEFINED if row[tag] is None else f"{row[tag]:.2f}" for tag in shown]
        table.add_row(*(str(row[key]) for key in sweep.axes), label, *numbers)
    return table
