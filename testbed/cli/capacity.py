"""The verb `capacity`: how many concurrent users a policy serves within the SLO. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.cli.options import Experiment, Json
from testbed.cli.output import note, print_json, show, table


class Window(StrEnum):
    whole = "whole"
    after_first = "after_first"


class Scope(StrEnum):
    per_request = "per_request"
    per_user = "per_user"
    fleet = "fleet"


def add_to(app: typer.Typer) -> None:
    app.command()(capacity)


def capacity(
    experiment: Experiment,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as for run")] = None,
    rates: Annotated[
        str, typer.Option("--rates", help="SLO targets in tokens/s, one capacity each; 2+8: mixed classes.")
    ] = "2,4,6,8",
    policy: Annotated[list[str] | None, typer.Option("--policy", help="Only this policy label; repeatable.")] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="Who must get the rate: each request, each user, the fleet; repeatable."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Fleets probed together, one a seed: 1,2,3 or 1-10.")
    ] = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompts", help="Prompt set in place of the experiment's; repeatable.")
    ] = None,
    duration_s: Annotated[float, typer.Option("--duration", min=1, help="Measured seconds per probe.")] = 120.0,
    window: Annotated[
        Window, typer.Option("--window", help="Measure the rate from request start or from first token.")
    ] = Window.whole,
    bound: Annotated[
        float, typer.Option("--bound", min=0, max=1, help="Share of requests, or users, that may miss the SLO.")
    ] = 0.05,
    most: Annotated[int, typer.Option("--most", min=1, max=1900, help="Upper bound of the search, in users.")] = 512,
    points: Annotated[
        int, typer.Option("--points", min=0, max=100, help="More fleet sizes for the saturation curve.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write capacities, curves and their figure there.")
    ] = None,
    decode_table: Annotated[str | None, typer.Option("--table", help="Decode table name or path.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    as_json: Json = False,
) -> None:
    """Find how many concurrent users a policy can serve.

    Concurrent users within the SLO, in virtual time, for each request, for each user on average, and for the fleet on
    average, with 95 % intervals over prompts and seeds. Users are closed-loop: each sends its next request when the
    last one has ended. The saturation curve has offered load and goodput of every fleet size that was probed.
    """
    from testbed.report.saturation import check, write
    from testbed.simulation.capacities import capacities, parse_rates, parse_seeds
    from testbed.simulation.capacity import SearchOptions
    from testbed.simulation.capacityrows import curve, line
    from testbed.simulation.probing import named

    options = SearchOptions(
        duration_s=duration_s, window=window.value, seeds=parse_seeds(seeds), bound=bound, most_users=most,
        scopes=tuple(one.value for one in scope or Scope), points=points,
    )  # fmt: skip
    if out is not None:
        check(out)
    processes = workers or len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    found = capacities(
        experiment, overrides or [], parse_rates(rates), policy or [], prompts or [], options, decode_table, processes,
        note,
    )  # fmt: skip
    for on, one in found:
        row = {"policy": one.policy, "prompts": on, "tokens_per_s": named(one.rate_per_s), **line(one)}
        rows.append({**row, "window": window.value, "seeds": list(options.seeds), "curve": curve(one)})
        note(f"{one.policy} at {row['tokens_per_s']} tokens/s, {on}: {_told(row)} in {len(one.levels)} probes")
    for written in [] if out is None else write(rows, out):
        note(f"written: {written}")
    if as_json:
        print_json({"capacities": rows})
        return
    from testbed.results.stamps import simulated
    from testbed.results.table import stamped

    counted = "from sending" if window is Window.whole else "after the first token"
    title = f"concurrent users within the SLO, rate counted {counted}"
    shown = [_cells(row, len({one["prompts"] for one in rows}) > 1) for row in rows]
    show(stamped(simulated()), table(f"{title}, at most {bound:.0%} of requests or users below", shown))


def _cells(row: dict[str, Any], sets: bool) -> dict[str, Any]:
    """For people: each capacity with its interval."""
    from testbed.simulation.capacityrows import column_of
    from testbed.workload.slo import SCOPES

    cells: dict[str, Any] = {"policy": row["policy"], **({"prompts": row["prompts"]} if sets else {})}
    cells["SLO_tokens/s"] = row["tokens_per_s"]
    for scope in SCOPES:
        name = column_of(scope)
        if row[name] is not None:
            cells[scope] = _with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
    cells |= {"tokens/s_per_user": row["tokens_per_s_per_user"], "token_goodput": row["token_goodput"]}
    cells["violations"] = row["violations"]
    if row["by_class"]:
        cells["by_class"] = _attainments(row["by_class"])
    return cells


def _told(row: dict[str, Any]) -> str:
    from testbed.simulation.capacityrows import column_of
    from testbed.workload.slo import SCOPES

    said = [(scope.replace("_", " "), row[column_of(scope)]) for scope in SCOPES]
    return ", ".join(f"{users} users {scope}" for scope, users in said if users is not None)


def _with_interval(users: int, low: int | None, high: int | None) -> str:
    return str(users) if low is None else f"{users} [{low}, {high}]"


def _attainments(by_class: Sequence[tuple[float, int, int]]) -> str:
    """Share of requests per class that met their SLO."""
    return ", ".join(f"{rate:g}: {1 - violations / n:.3f}" for rate, n, violations in by_class)
