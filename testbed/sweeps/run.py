"""Runs a sweep: what is finished already is taken from its journal, the rest is run, and one table is written.

The directory `<experiment>-sweep-<engine>` holds `points.jsonl` (the journal), `sweep.parquet` and `sweep.csv` (the
table), `sweep.json` (what was swept, with what), and `runs/` where logs were kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from testbed.errors import BadInput
from testbed.experiment.compute import NodeChoice
from testbed.files.whole import replacing
from testbed.files.yamlfile import nearest
from testbed.network.capabilities import FabricChoice
from testbed.results import manifest as provenance
from testbed.results.attempts import prune, remove_scraps, unfinished
from testbed.results.metrics import REGISTRY
from testbed.sweeps import emulated, journal, workers
from testbed.sweeps.plan import Point, Sweep, identified, source_hash
from testbed.sweeps.point import PointResult, Task
from testbed.sweeps.progress import SweepProgress
from testbed.sweeps.prompts import PROMPTS, make_prompt_table
from testbed.sweeps.sources import CachedSources
from testbed.sweeps.table import make_table, write_table

Engine = Literal["simulation", "emulation"]

# What the papers' figures are made of. More can be asked for; each costs a few milliseconds a point and policy.
HEADLINE = (
    "tpot_ms", "ttft_ms", "e2e_ms", "latency_ratio", "latency_ratio_max", "target_site_draft_passes",
    "target_site_draft_ratio", "acceptance_rate", "tokens_per_round",
)  # fmt: skip
ALL = "all"


@dataclass(frozen=True)
class SweepOptions:
    """What the command line adds to the file."""

    engine: Engine = "simulation"
    out: Path = Path("runs")
    workers: int | None = None  # None: one for each core; an emulation runs one point at a time
    keep_logs: bool = False  # of simulated points; an emulated point's run directory is always kept
    fabric: FabricChoice = "auto"
    nodes: NodeChoice = "auto"
    metrics: tuple[str, ...] = HEADLINE
    intervals: bool = True  # of simulated points; an emulated point's summary always has them
    per_prompt: bool = False  # of simulated points: also a table with one row per prompt, for distributions


@dataclass(frozen=True)
class SweepOutcome:
    """A finished sweep."""

    engine: Engine
    directory: Path
    points: tuple[Point, ...]
    results: dict[str, PointResult]  # by run id
    table: pa.Table
    resumed: int  # points that were finished before
    prompts: pa.Table | None = None  # one row per point, policy and prompt, where asked for

    @property
    def failed(self) -> list[tuple[Point, str]]:
        """Points without a result, and why."""
        errors = ((point, self.results[point.run_id].error) for point in self.points)
        return [(point, error) for point, error in errors if error is not None]

    @property
    def invalid(self) -> list[tuple[Point, tuple[str, ...]]]:
        """Points whose numbers must not be trusted, and why."""
        both = ((point, self.results[point.run_id]) for point in self.points)
        return [(point, result.reasons) for point, result in both if result.error is None and not result.valid]

    @property
    def valid(self) -> bool:
        return not self.failed and not self.invalid


def choose_metrics(names: str) -> tuple[str, ...]:
    """Of a comma-separated list, or `all`."""
    if names == ALL:
        return tuple(REGISTRY)
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in chosen:
        if name not in REGISTRY:
            raise BadInput(f"--metrics: no metric {name!r}{nearest(name, REGISTRY)}")
    return chosen


def run_sweep(sweep: Sweep, options: SweepOptions, progress: SweepProgress) -> SweepOutcome:
    """Raises BadInput before anything runs; a point that fails later is in the outcome and in the table."""
    if options.per_prompt and options.engine == "emulation":
        raise BadInput("per-prompt values are kept for simulated sweeps only; for an emulated run, read its log")
    if options.workers is not None and options.workers != 1 and options.engine == "emulation":
        raise BadInput("--workers: emulated points run one at a time; remove the option")
    code = source_hash()
    more = {"code": code, "metrics": ",".join(options.metrics), "logs": str(options.keep_logs)}
    more |= {"intervals": str(options.intervals), "per_prompt": str(options.per_prompt)}
    if options.engine == "emulation":
        more = {"code": code, "fabric": options.fabric, "nodes": options.nodes}  # has every metric and every log
    sources = CachedSources()
    points = tuple(identified(point, options.engine, sources, more) for point in sweep.points)
    directory = options.out / f"{sweep.experiment}-sweep-{options.engine}"
    with journal.opened(directory) as record:
        remove_scraps(directory)
        known = record.read()
        left = [point for point in points if point.run_id not in known]
        progress.total(len(points), len(points) - len(left))
        if len(left) < len(points):
            progress.note(f"{len(points) - len(left)} of {len(points)} points are already finished")
        chosen = next((one.dilation for one in known.values() if one.dilation is not None), None)
        for chunk in _run(left, options, directory, progress, chosen):
            record.add(chunk)
            known |= {result.run_id: result for result in chunk}
            progress.advance(len(chunk))
        found = {point.run_id: known[point.run_id] for point in points}
        table = make_table(sweep.axes, points, found, options.metrics, options.engine)
        write_table(table, directory)
        prompts = None
        if options.per_prompt:
            prompts = make_prompt_table(sweep.axes, points, found)
            write_table(prompts, directory, PROMPTS)
        outcome = SweepOutcome(options.engine, directory, points, found, table, len(points) - len(left), prompts)
        _write_facts(sweep, options, code, outcome)
    if len(outcome.failed) == len(points) and not any(one.defect for one in found.values()):
        point, error = outcome.failed[0]
        raise BadInput(f"every point failed; {point.name}: {error}")
    return outcome


def _run(
    left: Sequence[Point], options: SweepOptions, directory: Path, progress: SweepProgress, dilation: float | None
) -> Iterator[list[PointResult]]:
    if not left:
        return
    runs = directory / "runs"
    if options.engine == "emulation":
        yield from emulated.results(left, tuple(REGISTRY), options.fabric, runs, progress, options.nodes, dilation)
        return
    processes = options.workers or workers.default_workers()
    keep = runs if options.keep_logs else None
    if keep is not None:
        for one in unfinished(runs):  # what a killed sweep left of single points; one still written to stays
            prune(one)
    task = Task(options.metrics, keep, options.intervals, options.per_prompt)
    yield from workers.results(left, task, processes)


def _write_facts(sweep: Sweep, options: SweepOptions, code: str, outcome: SweepOutcome) -> None:
    """`sweep.json`: no time of day, so that the same sweep gives the same file."""
    facts: dict[str, Any] = {
        "experiment": sweep.experiment,
        "engine": options.engine,
        "axes": {key: list(values) for key, values in sweep.axes.items()},
        "metrics": list(options.metrics),
        "points": len(outcome.points),
        "failed": len(outcome.failed),
        "not_valid": len(outcome.invalid),
        "logs": "kept" if options.keep_logs or options.engine == "emulation" else "not kept: summaries only",
        "source_sha256": code,
        "machine": provenance.gather(),
    }
    with replacing(outcome.directory / "sweep.json") as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
