"""The verb `export`. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Json
from testbed.cli.output import print_json


class Format(StrEnum):
    """The keys of `testbed.results.export.write.FORMATS`; a test holds them to it."""

    csv = "csv"
    aiperf = "aiperf"
    vllm = "vllm"
    perfetto = "perfetto"
    otel = "otel"


def add_to(app: typer.Typer) -> None:
    app.command()(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run directory, e.g. runs/latest.")],
    format_: Annotated[Format, typer.Option("--format", "--to", help="What to write.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; default: exports/FORMAT in the run directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run in the formats of other tools.

    csv: all tables and metrics. aiperf: profile_export.jsonl. vllm: the result of `vllm bench serve`. perfetto: a trace
    for https://ui.perfetto.dev. otel: OpenTelemetry spans, OTLP as JSON.
    """
    from testbed.results.export.write import export as write

    written = write(run, format_.value, out)
    if as_json:
        print_json({"directory": str(run), "format": format_.value, "files": [str(path) for path in written]})
        return
    for path in written:
        print(path)
