"""One simulated point: the run itself, then only what the sweep's table needs of it.

Rule kept: figures and validity come from the same metrics and the same judge as a run's `summary.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from testbed.errors import MachineCannot, TestbedError
from testbed.results.metrics import REGISTRY, PolicyLog, policy_logs
from testbed.results.metrics.offload import by_prompt
from testbed.results.room import needed
from testbed.results.rundir import attempting, publish
from testbed.results.store import FILES, RECORDS, RunData, frame_of
from testbed.results.validity import judge
from testbed.simulation.engine import Simulated, counts_of, rows_of, simulate, write_run
from testbed.simulation.inputs import SimulationInputs, Sources, from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.sweeps.plan import Point

NEEDED = {"requests", "rounds", "steps", "links"}  # by the judge; messages only where a metric asks for them


class PointResult(msgspec.Struct, frozen=True):
    """What a finished or failed point leaves: one line of the sweep's journal."""

    run_id: str
    error: str | None = None  # why it failed; then nothing else is known
    defect: bool = False  # it failed by a fault of the program, not of its input
    valid: bool = False
    reasons: tuple[str, ...] = ()
    lossless_checked: int = 0
    lossless_equal: int = 0
    directory: str | None = None  # of its run, inside the sweep's, where the log was kept
    policies: dict[str, dict[str, dict[str, Any] | None]] = {}
    lookups: dict[str, tuple[int, int]] = {}  # by policy: answers about draft trees, and how many were approximated
    dilation: float | None = None  # of an emulated run
    prompts: dict[str, list[dict[str, Any]]] = {}  # by policy: one row per prompt against co-located speculation


@dataclass(frozen=True)
class Task:
    """What all points of a sweep have in common."""

    metrics: tuple[str, ...]
    keep: Path | None  # where run directories go; None: logs are not kept
    intervals: bool = True  # the bootstrap is most of what a short point costs beyond its simulation
    per_prompt: bool = False  # keep each prompt's comparison with co-located speculation, not its statistics alone


def simulate_point(point: Point, task: Task, sources: Sources) -> PointResult:
    """Runs one point. A failure is its result: one point must not lose the others. A full disk ends them all."""
    try:
        return _simulate(point, task, sources)
    except MachineCannot:
        raise
    except TestbedError as error:
        return PointResult(point.run_id, error=str(error))
    except Exception as error:
        said = f"{type(error).__name__}: {error} (a bug in the testbed; run this point alone for its traceback)"
        return PointResult(point.run_id, error=said, defect=True)


def _simulate(point: Point, task: Task, sources: Sources) -> PointResult:
    inputs = from_scenario(point.scenario, None, NO_OVERHEADS, lambda text: None, sources)
    simulated = simulate(inputs)
    rows = rows_of(inputs, simulated)
    run = _run_data(inputs, rows, task)
    validity = judge(run, counts_of(inputs))
    directory = None if task.keep is None else _keep(inputs, simulated, point.run_id, task.keep)
    compared = [row.lossless for row in rows["requests"] if row.lossless is not None]
    logs = policy_logs(run)
    return PointResult(
        point.run_id,
        valid=validity.valid,
        reasons=validity.reasons,
        lossless_checked=len(compared),
        lossless_equal=sum(compared),
        directory=directory,
        policies={label: {tag: REGISTRY[tag].compute(log) for tag in task.metrics} for label, log in logs.items()},
        lookups=simulated.log.lookups,
        prompts={label: _prompts(log) for label, log in logs.items()} if task.per_prompt else {},
    )


def _prompts(log: PolicyLog) -> list[dict[str, Any]]:
    """Undefined ratios are None: the journal is JSON, which has no NaN."""
    found = by_prompt(log)
    if found is None:
        return []
    numbers = found.astype(object).where(found.notna(), None).to_numpy()
    return [
        {"prompt_id": prompt, **dict(zip(found.columns, row, strict=True))}
        for prompt, row in zip(found.index, numbers, strict=True)
    ]


def _run_data(inputs: SimulationInputs, rows: Mapping[str, Sequence[msgspec.Struct]], task: Task) -> RunData:
    needed = NEEDED.union(*(REGISTRY[tag].requires for tag in task.metrics))
    scenario = inputs.scenario
    return RunData(
        manifest={
            "engine": "simulation",
            "scenario": {
                "seed": scenario.seed if task.intervals else None,
                "prices": None if scenario.prices is None else scenario.prices.model_dump(mode="json"),
            },
            **inputs.experiment.cost_facts(),
            "policies": [entry.model_dump(mode="json") for entry in scenario.policies],
        },
        **{kind: frame_of(kind, rows[kind] if kind in needed else ()) for kind in RECORDS},
    )


def _keep(inputs: SimulationInputs, simulated: Simulated, run_id: str, runs: Path) -> str:
    """Writes the run's directory, whole or not at all; a whole one of the same id that is there is the same run."""
    if all((runs / run_id / name).is_file() for name in FILES):
        return run_id
    with attempting(runs, "", run_id, needed(inputs.scenario, "simulation")) as attempt:
        try:
            write_run(inputs, simulated, run_id, attempt.partial)
            return publish(attempt, FILES, newest=False).name
        except BaseException:
            attempt.discard()
            raise
