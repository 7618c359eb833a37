"""The verb `capacity`: how many concurrent users a policy serves within the SLO. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from testbed.cli.options import Experiment, Json
from testbed.cli.output import note, print_json, show, table


class Window(StrEnum):
    whole = "whole"
    after_first = "after_first"


def add_to(app: typer.Typer) -> None:
    app.command()(capacity)


def capacity(
    experiment: Experiment,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as for run")] = None,
    rates: Annotated[
        str, typer.Option("--rates", help="SLO targets in tokens/s, one capacity each; 2+8: mixed classes.")
    ] = "2,4,6,8",
    policy: Annotated[list[str] | None, typer.Option("--policy", help="Only this policy label; repeatable.")] = None,
    duration_s: Annotated[float, typer.Option("--duration", min=1, help="Measured seconds per probe.")] = 120.0,
    window: Annotated[
        Window, typer.Option("--window", help="Measure the rate from request start or from first token.")
    ] = Window.whole,
    bound: Annotated[
        float, typer.Option("--bound", min=0, max=1, help="Share of requests that may miss the SLO.")
    ] = 0.05,
    most: Annotated[int, typer.Option("--most", min=1, max=1900, help="Upper bound of the search, in users.")] = 512,
    decode_table: Annotated[str | None, typer.Option("--table", help="Decode table name or path.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    as_json: Json = False,
) -> None:
    """Find how many concurrent users a policy can serve.

    Concurrent users within the SLO, by bisection in virtual time. Users are closed-loop: each sends its next request
    when the last one has ended.
    """
    from testbed.simulation.capacities import capacities, parse_rates
    from testbed.simulation.capacity import SearchOptions, named

    options = SearchOptions(duration_s=duration_s, bound=bound, most_users=most, window=window.value)
    processes = workers or len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    found = capacities(
        experiment, overrides or [], parse_rates(rates), policy or [], options, decode_table, processes, note
    )
    for one in found:
        at = one.at_capacity
        row = {
            "policy": one.policy,
            "tokens_per_s": named(one.rate_per_s),
            "capacity": one.users,
            "surely_inside": one.surely,
            "surely_outside": one.beyond,
            "violations": None if at is None else round(at.share, 4),
            "token_goodput": None if at is None else round(at.token_goodput, 1),
            "requests": None if at is None else at.requests,
            "by_class": None if at is None or not at.by_class else _attainments(at.by_class),
            "probes": [[each.users, each.violations, each.requests] for each in one.probes],
        }
        rows.append(row)
        note(f"{one.policy} at {named(one.rate_per_s)} tokens/s: {one.users} users in {len(one.probes)} probes")
    if as_json:
        print_json({"capacities": rows})
        return
    from testbed.results.stamps import simulated
    from testbed.results.table import stamped

    mixed = any(row["by_class"] is not None for row in rows)
    left_out = {"probes"} if mixed else {"probes", "by_class"}
    told = [{key: value for key, value in row.items() if key not in left_out} for row in rows]
    show(stamped(simulated()), table(f"concurrent users within the SLO, at most {bound:.0%} of requests below", told))


def _attainments(by_class: Sequence[tuple[float, int, int]]) -> str:
    """Share of requests per class that met their SLO."""
    return ", ".join(f"{rate:g}: {1 - violations / n:.3f}" for rate, n, violations in by_class)
