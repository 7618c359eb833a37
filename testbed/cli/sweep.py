"""The verbs about many runs: `sweep`, `compare`, `reproduce`. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import (
    Engine,
    Experiment,
    Fabric,
    FabricOption,
    Json,
    Nodes,
    NodesOption,
    gain_privilege,
)
from testbed.cli.output import note, print_json, show
from testbed.errors import BadInput, RunInvalid

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes for a simulated sweep; default: one per core.")
]


def add_to(app: typer.Typer) -> None:
    for verb in (sweep, compare, reproduce):
        app.command()(verb)


def sweep(
    experiment: Experiment,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value; on a swept key, keep only that value")
    ] = None,
    engine: Annotated[
        Engine, typer.Option("--engine", help="simulation: virtual time; emulation: real models and sockets.")
    ] = Engine.simulation,
    fabric: FabricOption = Fabric.auto,
    nodes: NodesOption = Nodes.auto,
    workers: Workers = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the sweep's directory.")] = Path("runs"),
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="Comma-separated metric names, or 'all'; default: the headline metrics."),
    ] = None,
    keep_logs: Annotated[
        bool, typer.Option("--keep-logs", help="Keep the run directory of every simulated point.")
    ] = False,
    intervals: Annotated[
        bool,
        typer.Option(
            "--intervals/--no-intervals", help="Compute a bootstrap 95 % interval for every simulated metric."
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Run every point of an experiment's matrix; write one table.

    Points that finished before are not run again.
    """
    if engine is Engine.emulation:
        gain_privilege()
    elif nodes is Nodes.docker:
        raise BadInput("--nodes docker: a simulation has no containers; use --engine emulation")
    from testbed.cli.progress import SweepConsole
    from testbed.sweeps.plan import load_sweep
    from testbed.sweeps.render import as_dict, render
    from testbed.sweeps.run import HEADLINE, SweepOptions, choose_metrics, run_sweep
    from testbed.sweeps.table import CSV, PARQUET

    options = SweepOptions(
        engine=engine.value,
        out=out,
        workers=workers,
        keep_logs=keep_logs,
        fabric=fabric.value,
        nodes=nodes.value,
        intervals=intervals,
        metrics=HEADLINE if metrics is None else choose_metrics(metrics),
    )
    plan = load_sweep(experiment, overrides or [])
    with SweepConsole() as progress:
        outcome = run_sweep(plan, options, progress)
    if as_json:
        print_json(as_dict(outcome))
    else:
        show(render(plan, outcome))
        print(f"table: {outcome.directory / PARQUET} (and {CSV})")
    for point, error in outcome.failed:
        note(f"testbed: {point.name} failed: {error}")
    if not outcome.valid:
        raise typer.Exit(RunInvalid.exit_code)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; the first is the baseline.")],
    as_json: Json = False,
) -> None:
    """Compare runs, paired by policy, prompt and repeat.

    Ratios come with 95 % intervals over prompts.
    """
    from testbed.results.compare import compare_runs
    from testbed.results.compare_render import render

    result = compare_runs(runs)
    if as_json:
        print_json(result)
    else:
        show(render(result))
    if not result["valid"]:
        raise typer.Exit(RunInvalid.exit_code)


def reproduce(
    name: Annotated[str, typer.Argument(help="Folder of experiments/ with a claims.yaml, e.g. wanspec.")],
    workers: Workers = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for sweeps.")] = Path("runs"),
    docs: Annotated[Path, typer.Option("--docs", help="Folder that holds reproduction.md and results/.")] = Path(
        "docs"
    ),
    as_json: Json = False,
) -> None:
    """Run a paper's sweeps in simulation and check its claims.

    It draws the figures and writes the table of claims.
    """
    from testbed.cli.progress import SweepConsole
    from testbed.reproduce.run import reproduce as run_claims
    from testbed.reproduce.table import render

    with SweepConsole() as progress:
        result = run_claims(name, out, docs, workers, progress)
    if as_json:
        print_json(result.as_dict())
    else:
        show(render(result))
        written = [result.document, *result.figures]
        print(f"written: {', '.join(map(str, written))}")
    if not result.valid:
        raise typer.Exit(RunInvalid.exit_code)
