"""The verbs about what an experiment can name: topologies, RTT traces, models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.cli import controllers as cli_controllers
from testbed.cli import profile as cli_profile
from testbed.cli.options import Json
from testbed.cli.options import console as _console
from testbed.cli.options import note as _note
from testbed.errors import BadInput, RunInvalid

models_app = typer.Typer(help="Models and pairs: list, check, train, profile.", no_args_is_help=True)
topology_app = typer.Typer(help="Topologies: list, show.", no_args_is_help=True)
trace_app = typer.Typer(help="RTT traces: list, show.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Registers the verbs."""
    cli_controllers.add_to(models_app)
    cli_profile.add_to(models_app)
    app.add_typer(models_app, name="models")
    app.add_typer(topology_app, name="topology")
    app.add_typer(trace_app, name="trace")


@topology_app.command("list")
def topology_list(as_json: Json = False) -> None:
    """List the topologies."""
    from testbed.network.spec.topology import available, load_topology

    rows = {name: load_topology(name) for name in available()}
    if as_json:
        print(json.dumps({name: one.region_names for name, one in rows.items()}, indent=2))
        return
    for name, one in rows.items():
        print(f"{name}: {', '.join(one.region_names)}")


@topology_app.command("show")
def topology_show(
    name: Annotated[str, typer.Argument(help="Name or file of a topology.")], as_json: Json = False
) -> None:
    """Show a topology's round-trip times and their source."""
    from testbed.network.spec.topology import load_topology

    topology = load_topology(name)
    if as_json:
        print(json.dumps(topology.model_dump(mode="json", by_alias=True), indent=2))
        return
    from rich.table import Table

    table = Table(title=f"{topology.name}: round-trip times in ms, {topology.measured_on}")
    table.add_column("from \\ to")
    for region in topology.region_names:
        table.add_column(region, justify="right")
    for a in topology.region_names:
        table.add_row(a, *(f"{topology.rtt_ms(a, b):.2f}" for b in topology.region_names))
    _console().print(table)
    print(f"source: {topology.source.citation} ({topology.source.licence})")


@trace_app.command("list")
def trace_list(as_json: Json = False) -> None:
    """List the RTT traces that `network.rtt_series` can name."""
    from testbed.network.spec.series import available_series, load_series
    from testbed.network.spec.series_summary import summary

    rows = [summary(load_series(name)) for name in available_series()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    _console().print(_table("RTT traces", rows))


@trace_app.command("show")
def trace_show(name: Annotated[str, typer.Argument(help="RTT trace name or file.")], as_json: Json = False) -> None:
    """Show a trace's metadata and each pair's round-trip times."""
    from testbed.network.spec.series import load_series
    from testbed.network.spec.series_summary import pair_rows

    series = load_series(name)
    if as_json:
        print(json.dumps({**series.as_manifest(), "pairs": pair_rows(series)}, indent=2))
        return
    for key, value in series.about.items():
        print(f"{key}: {value}")
    _console().print(_table(f"{series.name}, {series.seconds:g} s", pair_rows(series)))


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the shipped models with size and hash."""
    from dataclasses import asdict

    from testbed.models.catalogue import list_models

    rows = [asdict(one) for one in list_models()]
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
        return
    _console().print(_table("shipped models", rows))


@models_app.command("check")
def models_check(
    target: Annotated[
        str, typer.Argument(help="Target model: shipped name, folder, or Hugging Face name.")
    ] = "tiny-target",
    draft: Annotated[str, typer.Argument(help="Draft model with the same tokenizer.")] = "tiny-draft",
    prompts: Annotated[str, typer.Option("--prompts", help="Prompt set.")] = "prose",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Number of prompts.")] = 16,
    as_json: Json = False,
) -> None:
    """Check that a pair fits: tokenizers, losslessness, speed.

    Tokenizers must match and greedy speculation must give target-only output; it shows acceptance and speed too.
    """
    from dataclasses import asdict

    from testbed.models.check import check_pair
    from testbed.workload.prompts import load_prompts

    texts = load_prompts(prompts).prompts[:limit]
    result = check_pair(target, draft, texts)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
    else:
        _console().print(_pairs(f"{target} with {draft}, {len(texts)} prompts of '{prompts}'", asdict(result)))
    if result.not_applied:
        _note(f"{target}: its checkpoint sets {result.not_applied}, which the testbed does not apply")
    if not result.lossless:
        raise RunInvalid(f"{target} with {draft}: speculative output differs from target-only greedy output")


@models_app.command("train")
def models_train(
    text: Annotated[Path, typer.Option("--text", help="Folder with public-domain *.txt files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the trained pair.")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights and order.")] = 0,
) -> None:
    """Train a small target and its drafters reproducibly.

    It takes about twenty minutes on one core.
    """
    from testbed.training import TrainingOptions, train_pair

    if not text.is_dir():
        raise BadInput(f"--text {text}: no such folder")
    print(train_pair(TrainingOptions(text=text, out=out, seed=seed), progress=_note))


def _table(title: str, rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for key in rows[0] if rows else []:
        table.add_column(key)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def _pairs(title: str, values: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for key, value in values.items():
        table.add_row(key, f"{value:.3f}" if isinstance(value, float) else str(value))
    return table
