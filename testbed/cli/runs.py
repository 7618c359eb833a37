"""The verbs about what lies in a folder of runs: `runs list | show | query | prune`. Thin; added by `cli.main`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.options import Engine, Json
from testbed.cli.output import note, pairs, print_json, table
from testbed.cli.output import show as print_parts
from testbed.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from testbed.results.attempts import Found

Out = Annotated[Path, typer.Option("--out", help="Folder with runs.")]


FIT = ("run", "policy", "metric", "value", "low", "high", "unit")  # of the rows of metrics, on a terminal; --json: all


def add_to(app: typer.Typer) -> None:
    runs = typer.Typer(help="Runs in a folder: list, show, query, prune.", no_args_is_help=True)
    for name, verb in (("list", list_all), ("show", show), ("query", query), ("prune", prune)):
        runs.command(name)(verb)
    app.add_typer(runs, name="runs")


def list_all(out: Out = Path("runs"), as_json: Json = False) -> None:
    """List runs: finished, in progress and unfinished.

    Unfinished ones are those whose process ended without a result.
    """
    from testbed.results.attempts import find

    found = find(out)
    if as_json:
        print_json({"runs": [one.as_dict() for one in found]})
        return
    if not found:
        print(f"no runs in {out}")
        return
    for one in found:
        since = "" if one.started is None else f"since {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.started))}"
        more = {None: f"{since}, process {one.process}" if since else "", True: "valid", False: "NOT VALID"}[one.valid]
        print(f"{one.state:12} {one.path}  {more}".rstrip())


def show(
    run: Annotated[str, typer.Argument(help="A run's directory, its name in the folder, or its run id.")],
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show one finished run and its metrics.

    All its tables are in its directory; `testbed runs query` asks all runs at once.
    """
    from testbed.results.query import Filters, about, metrics

    facts, folder, name = about(out, run)
    figures = metrics(folder, Filters(run=name))
    if as_json:
        print_json({**facts, "metrics": _plain(figures)})
        return
    print_parts(pairs("", facts))
    print_parts(table("", _plain(figures.drop(columns=["run", "experiment", "engine", "valid"]))))


def query(
    sql: Annotated[str | None, typer.Argument(metavar="[SQL]", help="A SELECT; without it, options choose.")] = None,
    out: Out = Path("runs"),
    experiment: Annotated[str | None, typer.Option("--experiment", help="Only runs of this experiment.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="Only this policy, by its label.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Only this metric.")] = None,
    engine: Annotated[Engine | None, typer.Option("--engine", help="Only runs of this engine.")] = None,
    valid: Annotated[bool | None, typer.Option("--valid/--not-valid", help="Only runs that are, or are not.")] = None,
    as_json: Json = False,
) -> None:
    """Query all finished runs of a folder: with SQL, or by options.

    Tables for SQL: runs, metrics, requests, rounds, steps, messages, links, replay, probes; `run` joins them. A query
    reads these and no other file, and writes none. Without SQL it prints the rows of metrics that pass the options.
    """
    from testbed.results.query import Filters, metrics
    from testbed.results.query import query as ask

    filters = Filters(experiment, policy, metric, None if engine is None else engine.value, valid)
    if sql is not None and filters.any:
        raise BadInput("runs query: options choose where there is no SQL; put the condition into its WHERE")
    rows = _plain(metrics(out, filters) if sql is None else ask(out, sql))
    if as_json:
        print_json({"rows": rows})
    elif rows:
        print_parts(table("", rows if sql is not None else [{key: row[key] for key in FIT} for row in rows]))
    else:
        print("no rows")


def prune(
    out: Out = Path("runs"),
    not_valid: Annotated[bool, typer.Option("--not-valid", help="Also finished runs that are not valid.")] = False,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Also finished runs older than this.")
    ] = None,
    experiment: Annotated[str | None, typer.Option("--experiment", help="Only of this experiment.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove finished runs without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what attempts without a result left.

    Finished runs go only where an option says so. They are named and asked about first; without a terminal, --yes is
    needed. With both options a run must be not valid and older.
    """
    from testbed.results import attempts

    if not out.is_dir():
        raise BadInput(f"--out {out}: no such folder")
    chosen = [one for one in attempts.unfinished(out) if experiment in (None, one.experiment)]
    done = attempts.outdated(out, not_valid, older_than, experiment)
    if done and not (dry_run or yes):
        _ask(done)
    removed = [*chosen, *done] if dry_run else [one for one in [*chosen, *done] if attempts.prune(one)]
    if as_json:
        print_json({"removed": [one.as_dict() for one in removed]})
        return
    for one in removed:
        print(f"{'would remove' if dry_run else 'removed'} {one.path}")
    if not removed:
        print("nothing to prune")


def _ask(runs: list[Found]) -> None:
    """Raises BadInput unless whoever sits there agrees."""
    for one in runs:
        note(f"{one.path}  {'valid' if one.valid else 'NOT VALID'}")
    if not sys.stdin.isatty():
        raise BadInput(f"runs prune: {len(runs)} finished runs would be removed; say so with --yes")
    note(f"remove these {len(runs)} finished runs? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadInput("runs prune: nothing was removed")


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows without numpy: undefined is None."""
    return [{str(key): _value(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _value(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_value(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _value(one) for key, one in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if value != value else value
    return None if str(value) in ("NaT", "<NA>") else str(value)
