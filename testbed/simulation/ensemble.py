"""Whether repeated emulated cells equal their simulation within a margin, against an ensemble of simulations.

One simulation is one point of a function that can jump: half a millisecond of the testbed's own moves prompts into
other passes, and pass times have steps. So the emulated repeats are held against many simulations, each with an
overhead a job between none and `jitter_ms`, and both groups have their spread.

Rule kept: each repeat has its own arrivals, so every value is taken over the ensemble's mean of the same repeat. Equal
means equal by TOST (`testbed.results.equivalence`); too few repeats are never equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from testbed.errors import BadInput
from testbed.results.equivalence import FEWEST, equivalence
from testbed.results.store import RunData, load, using
from testbed.simulation.calibrate import paired, prompt_ids, simulated
from testbed.simulation.inputs import SimulationInputs, from_manifest
from testbed.simulation.world import NO_OVERHEADS

METRICS = ("tpot_ms", "ttft_ms", "e2e_ms")
CELL = ["policy", "metric", "repeat"]
SEED = 0  # of the overheads
VALUES = ("emulated", "simulated")


@dataclass(frozen=True)
class EnsembleOptions:
    members: int = 20
    margin: float = 0.03
    jitter_ms: float = 0.6


def equivalences(
    run_dirs: Sequence[Path], options: EnsembleOptions, table: str | None = None
) -> dict[str, dict[str, Any]]:
    """By policy and metric; the runs must be repeats of one experiment. Raises BadInput."""
    with using(*run_dirs):
        return compared([load(path) for path in run_dirs], options, table)


def compared(runs: Sequence[RunData], options: EnsembleOptions, table: str | None = None) -> dict[str, dict[str, Any]]:
    """The same of runs in memory."""
    if any(run.manifest["scenario"]["policies"] != runs[0].manifest["scenario"]["policies"] for run in runs):
        raise BadInput("calibrate: the runs have other policies than the first; give repeats of one experiment")
    overheads = np.random.default_rng(SEED).uniform(0, options.jitter_ms, options.members)
    cells = pd.concat(
        _cells(run, inputs, float(job_ms)).assign(run=at, member=member)
        for at, (run, inputs) in enumerate((run, _inputs(run, table)) for run in runs)
        for member, job_ms in enumerate(overheads)
    )
    found: dict[str, dict[str, Any]] = {}
    for (policy, metric), one in cells.groupby(["policy", "metric"], sort=False):
        found.setdefault(str(policy), {})[str(metric)] = _judged(one, options.margin)
    return found


def _inputs(run: RunData, table: str | None) -> SimulationInputs:
    return from_manifest(run.manifest, prompt_ids(run), table, NO_OVERHEADS)


def _cells(run: RunData, inputs: SimulationInputs, job_ms: float) -> pd.DataFrame:
    """A row for each policy, metric and repeat: the means over requests that both sides have."""
    both = paired(run, simulated(replace(inputs, overheads=replace(NO_OVERHEADS, job_ms=job_ms)), run))
    mine = both[both["metric"].isin(METRICS)]
    return mine.groupby(CELL, sort=False)[list(VALUES)].mean().reset_index()


def _judged(cells: pd.DataFrame, margin: float) -> dict[str, Any]:
    """Logarithms are taken of values over the ensemble's mean of the same run and repeat."""
    over = cells.groupby(["run", "repeat"])["simulated"].transform("mean")
    emulated = (cells["emulated"] / over)[cells["member"] == 0]
    members = (cells["simulated"] / over).groupby(cells["member"]).mean()
    result = equivalence(emulated.tolist(), members.tolist(), margin)
    if result is None:
        ratio = math.exp(float(np.log(emulated).mean()))
        return {"ratio": ratio, "equal": None, "why": f"needs at least {FEWEST} repeats of the emulated cell"}
    return {**asdict(result), "equal": result.equal}


def render(found: dict[str, dict[str, Any]], options: EnsembleOptions) -> Any:
    """For a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"emulated repeats against {options.members} simulations with 0 to {options.jitter_ms:g} ms a job, "
        f"margin {options.margin:.0%}",
        title_justify="left",
        caption="ratio of emulated to simulated, with the 90 % interval of two one-sided tests at 5 %",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    for heading in ("policy", "metric", "ratio", "interval", "equal"):
        table.add_column(heading)
    for policy, metrics in found.items():
        for metric, one in metrics.items():
            ends = f"{one['low']:.4f} to {one['high']:.4f}" if "low" in one else "-"
            said = one.get("why") or ("yes" if one["equal"] else "NOT SHOWN")
            table.add_row(policy, metric, f"{one['ratio']:.4f}", ends, said)
    return table
